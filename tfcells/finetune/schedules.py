"""Learning rates over the steps of a phase: a linear warm-up, then a cosine or a constant. Keras' own schedules."""

import keras

from tfcells.finetune.settings import PhaseSettings


def build_schedule(
    rate: float, phase: PhaseSettings, *, batches_per_epoch: int
) -> keras.optimizers.schedules.LearningRateSchedule:
    """The learning rate at every batch of a phase, counted from 0.

    Keras counts batches, not updates: with accumulated gradients the rate is that of the batch that completes them.

    Args:
        rate: At the end of the warm-up.
        phase: Epochs, warm-up and shape. The warm-up starts from zero; the cosine (Loshchilov & Hutter 2017,
            arXiv:1608.03983) falls to zero at the end of the last epoch.
        batches_per_epoch: How many there are.
    """
    total = phase.epochs * batches_per_epoch
    warmup = min(round(phase.warmup * batches_per_epoch), total - 1)
    schedules = keras.optimizers.schedules
    if phase.schedule == "cosine":
        if not warmup:
            return schedules.CosineDecay(rate, total)
        return schedules.CosineDecay(0.0, total - warmup, warmup_target=rate, warmup_steps=warmup)
    # Keras' polynomial goes from any rate to any other and stays there.
    return schedules.PolynomialDecay(0.0 if warmup else rate, max(warmup, 1), end_learning_rate=rate, power=1.0)
