"""A small network of three classes with fixed weights."""

import numpy as np

SIZE = 32


def convolutional_network(*, nested: bool):
    """The same weights each time; convolutions in a model inside the model, or all layers in one graph."""
    import keras

    layers = [
        keras.layers.Conv2D(6, 3, strides=2, activation="relu", name="first"),
        keras.layers.BatchNormalization(name="norm"),
        keras.layers.Conv2D(8, 3, strides=2, padding="same", activation="relu", name="second"),
    ]
    pixels = keras.Input((SIZE, SIZE, 3))
    scaled = keras.layers.Rescaling(1 / 127.5, -1.0)(pixels)
    if not nested:
        maps = scaled
        for layer in layers:
            maps = layer(maps)
    else:
        inside = keras.Input((SIZE, SIZE, 3))
        maps = inside
        for layer in layers:
            maps = layer(maps)
        maps = keras.Model(inside, maps, name="body")(scaled)
    logits = keras.layers.Dense(3, name="logits")(keras.layers.GlobalMaxPooling2D()(maps))
    model = keras.Model(pixels, logits, name="nested" if nested else "flat")
    generator = np.random.default_rng(5)
    for variable in model.weights:
        shape = tuple(variable.shape)
        drawn = generator.normal(0, 0.4, shape) if len(shape) > 1 else generator.uniform(0.5, 1.5, shape)
        variable.assign(drawn)
    from tfcells.explain.explained import explain_network

    return explain_network(model, ("a", "b", "c"))
