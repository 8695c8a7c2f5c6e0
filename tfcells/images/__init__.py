"""What we look at: tables of pictures, readers, splits, batches and generated samples."""
