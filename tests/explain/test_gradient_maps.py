import numpy as np
import pytest
from small_networks import SIZE

from tfcells.errors import RequestError, UnknownNameError
from tfcells.explain.baselines import baseline_of
from tfcells.explain.exact import exact_maps
from tfcells.explain.gradients import gradcam_maps, integrated_maps
from tfcells.explain.nested import map_paths


def towards(explained, pictures, name):
    return np.repeat(explained.contrast(name)[None], len(pictures), axis=0)


def test_a_nested_network_answers_and_is_explained_as_the_flat_one(convolutional, flat, pictures):
    np.testing.assert_allclose(convolutional.logits(pictures), flat.logits(pictures), rtol=1e-5)
    contrasts = towards(flat, pictures, "b")
    for layer in ("first", "second", None):
        nested = gradcam_maps(convolutional, pictures, contrasts, layer=layer)
        np.testing.assert_allclose(nested.heat, gradcam_maps(flat, pictures, contrasts, layer=layer).heat, rtol=1e-4)
    assert map_paths(convolutional.model, SIZE)[-2:] == ["body/second", "body"]


def test_grad_cam_is_weighted_by_mean_gradients(flat, pictures):
    import keras
    import tensorflow as tf

    contrasts = towards(flat, pictures, "a")
    head = keras.Model(flat.model.get_layer("second").output, flat.model.output)
    body = keras.Model(flat.model.input, flat.model.get_layer("second").output)
    maps = tf.constant(body(pictures))
    with tf.GradientTape() as tape:
        tape.watch(maps)
        value = head(maps)[:, 0]
    weights = tape.gradient(value, maps).numpy().mean(axis=(1, 2), keepdims=True)
    by_hand = np.maximum((weights * maps.numpy()).sum(axis=3), 0)
    np.testing.assert_allclose(gradcam_maps(flat, pictures, contrasts, layer="second").heat, by_hand, rtol=1e-4)
    assert by_hand.max() > 0


def test_at_a_linear_probe_grad_cam_is_the_positive_part_of_the_exact_map(probed, pictures):
    explained, *_ = probed("early")
    contrasts = towards(explained, pictures, "class 2")
    exact = exact_maps(explained, pictures, contrasts, reference="zero").heat
    np.testing.assert_allclose(gradcam_maps(explained, pictures, contrasts).heat, np.maximum(exact, 0), atol=1e-5)


def test_batches_do_not_change_a_map(convolutional, pictures):
    contrasts = towards(convolutional, pictures, "a")
    for make in (gradcam_maps, integrated_maps):
        whole, parts = (make(convolutional, pictures, contrasts, batch_size=size).heat for size in (16, 4))
        np.testing.assert_allclose(whole, parts, atol=1e-4 * np.abs(whole).max())


@pytest.mark.parametrize("baseline", ["border", "blur"])
def test_integrated_gradients_add_up_to_what_the_logit_rises_by(baseline, convolutional, pictures):
    contrasts = towards(convolutional, pictures, "a")
    maps = integrated_maps(convolutional, pictures, contrasts, baseline=baseline)
    plain = baseline_of(pictures, baseline)
    rises = convolutional.values(pictures, contrasts) - convolutional.values(plain, contrasts)
    allowed = 0.01 * np.maximum(np.abs(rises), 1)
    np.testing.assert_allclose(maps.completeness.claimed, rises, atol=1e-3)
    assert (np.abs(maps.heat.sum(axis=(1, 2)) - rises) <= allowed + 1e-3).all()
    assert maps.completeness.reached.all()
    assert np.abs(rises).max() >= 1


def test_integrated_gradients_of_a_linear_classifier_are_weights_times_change(planted, pictures):
    maps = integrated_maps(planted, pictures, towards(planted, pictures, "dark"))
    change = (pictures - baseline_of(pictures, "border"))[:, 8:16, 8:16, 1]
    np.testing.assert_allclose(maps.heat[:, 8:16, 8:16], -change / 10 / 64, atol=1e-5)
    assert np.count_nonzero(maps.heat) == np.count_nonzero(maps.heat[:, 8:16, 8:16])


def test_where_the_steps_do_not_suffice_it_is_said(convolutional, pictures):
    maps = integrated_maps(
        convolutional, pictures, towards(convolutional, pictures, "a"), tolerance=1e-9, most_steps=20
    )
    assert not maps.completeness.reached.any()
    assert (maps.completeness.steps == 20).all()


def test_a_layer_that_does_not_exist_is_named_with_a_suggestion(convolutional, pictures):
    with pytest.raises(UnknownNameError, match=r"Unknown map of nested 'secnd'. Did you mean 'second'"):
        gradcam_maps(convolutional, pictures, towards(convolutional, pictures, "a"), layer="secnd")


def test_a_tree_passes_no_gradient_and_it_is_said_what_to_use(probed, pictures):
    from tfcells.serving.probe_graph import stage_of

    explained, *_ = probed("late", kind="tree", head=stage_of)
    contrasts = towards(explained, pictures, "class 1")
    with pytest.raises(RequestError, match=r"No gradient reaches the pixels.*Explain it by occlusion or shap"):
        integrated_maps(explained, pictures, contrasts)
    with pytest.raises(RequestError, match="DecisionTreeClassifier has no exact map"):
        exact_maps(explained, pictures, contrasts)


def test_a_probe_that_is_not_affine_is_explained_by_the_logarithm_of_its_probability(probed, pictures):
    from tfcells.serving.probe_graph import stage_of

    explained, *_ = probed("late", kind="svm", head=stage_of)
    some = pictures[:2]
    assert np.isfinite(integrated_maps(explained, some, towards(explained, some, "class 1")).heat).all()
    told = np.exp(explained.logits(pictures))
    np.testing.assert_allclose(told.sum(axis=1), 1, atol=1e-4)


def test_a_softmax_at_the_end_is_refused():
    import keras

    from tfcells.explain.explained import explain_network

    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(2, "softmax")])
    with pytest.raises(RequestError, match=r"ends in a softmax, where gradients vanish.*Expected logits"):
        explain_network(model, ("a", "b"))
    with pytest.raises(RequestError, match="answers with 2 numbers for 3 classes"):
        explain_network(model, ("a", "b", "c"))


def test_a_model_without_a_graph_is_refused(pictures):
    import keras

    from tfcells.explain.explained import Explained

    class Own(keras.Model):
        def call(self, pixels):
            return pixels[:, 0, 0, :2]

    explained = Explained(model=Own(name="own"), class_names=("a", "b"), size=SIZE)
    with pytest.raises(RequestError, match="own is a Own without a graph of layers"):
        gradcam_maps(explained, pictures, np.ones((len(pictures), 2)))


def test_unknown_classes_and_differences_of_one_class_are_refused(convolutional):
    with pytest.raises(UnknownNameError, match="Unknown class 'd'"):
        convolutional.contrast("d")
    with pytest.raises(RequestError, match="The difference of 'a' and 'a' is always 0"):
        convolutional.contrast("a", "a")
