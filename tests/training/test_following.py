"""A classifier that follows its device through redraws: old or new for each caller, never a mixture, and no frame too many."""

import threading
import time
from contextlib import suppress

import pytest
import torch

from groundglass.core import BudgetExceededError
from groundglass.models import defend, predict_logits
from groundglass.optics import SimulatedOPU
from groundglass.optics.remote.errors import DeviceGoneError, FrameBudgetError, MatrixRedrawnError
from groundglass.service.policy import Redraw
from groundglass.training import Following, TrainingConfig, encode_bits
from groundglass.training.classifier import accuracy_of_bits, fit_classifier
from groundglass.training.following import ClosedError
from tests.service.serving import bench

N, M, CLASSES = 64, 256, 10
QUICK = TrainingConfig(epochs=3, batch_size=50, learning_rate=0.05)


class Service:
    """One device under a name, redrawn by its owner. The old matrix answers as long as there is an overlap."""

    def __init__(self, overlap=False):
        self.overlap, self.versions, self.frames = overlap, [SimulatedOPU.create(N, M, seed=1)], {}
        self.budget, self.on_measure, self.gone = None, None, False

    def redraw(self):
        self.versions.append(self.versions[-1].redraw(len(self.versions) + 1))

    def open(self):
        if self.gone:
            raise DeviceGoneError("nobody answers")
        return Client(self, self.versions[-1])


class Client:
    """A device that keeps to one matrix, as `RemoteOPU` does."""

    def __init__(self, service, version):
        self.service, self._version = service, version
        self.in_features, self.out_features = N, M
        self.fingerprint, self.mean_reading = version.fingerprint, version.mean_reading

    @property
    def frames_left(self):
        spent = sum(self.service.frames.values())
        return None if self.service.budget is None else self.service.budget - spent

    def measure(self, bits):
        service, now = self.service, self.service.versions[-1].fingerprint
        if service.on_measure:
            service.on_measure(self)
            now = service.versions[-1].fingerprint
        if now != self.fingerprint and not service.overlap:
            raise MatrixRedrawnError("the device was redrawn", old=self.fingerprint, new=now)
        service.frames[self.fingerprint] = service.frames.get(self.fingerprint, 0) + len(bits)
        return self._version.measure(bits)

    def __deepcopy__(self, memo):
        return self


@pytest.fixture(scope="module")
def images():
    """Ten prototypes, a pixel in ten changed: 500 to fit, 200 to judge by."""
    g = torch.Generator().manual_seed(5)
    prototypes = (torch.rand(CLASSES, 3, 8, 8, generator=g) < 0.4).float()
    labels = torch.randint(0, CLASSES, (700,), generator=g)
    flipped = (torch.rand(700, 3, 8, 8, generator=g) < 0.1).float()
    return (prototypes[labels] - flipped).abs(), labels


def fitted(service, images):
    x, y = images
    torch.manual_seed(0)
    plain = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, CLASSES))
    network = defend(plain, at="1", device=service.open(), seed=0).eval()
    network(x[:2])
    bits = encode_bits(network, images)
    fit_classifier(network, bits[:500], y[:500], QUICK, seed=0)
    return network, bits


def right(logits, labels):
    return float((logits.argmax(1) == labels).float().mean())


def following(service, images, **options):
    network, bits = fitted(service, images)
    service.frames.clear()
    options = {"reopen": service.open, "seed": 0, **options}
    return Following(network, bits[:500], images[1][:500], QUICK, **options)


def test_a_redraw_is_followed_and_the_accuracy_comes_back(images):
    service = Service()
    predict = following(service, images)
    x, y = images[0][500:], images[1][500:]
    old = predict.network
    before = right(predict(x), y)
    service.redraw()
    after = right(predict(x), y)  # waits
    assert before > 0.9
    assert after > before - 0.05
    (refit,) = predict.refits
    assert (refit.old, refit.new) == tuple(version.fingerprint for version in service.versions)
    # Each training image once, and no frame of the old matrix beside the first prediction's.
    assert refit.frames == 500
    assert service.frames == {refit.old: 200, refit.new: 500 + 200}
    # The old network is as it was; what lies below the layer is the same in both.
    assert old.device.fingerprint == refit.old
    assert predict.network is not old
    state, fresh = old.state_dict(), predict.network.state_dict()
    changed = {name for name in state if not torch.equal(state[name], fresh[name])}
    assert changed == {f"network.1.{name}" for name in ("readout.weight", "readout.bias", "optical._extra_state")}


def test_nobody_gets_a_mixture_while_it_is_swapped(images):
    """Every prediction is bit for bit that of the old network or of the new one; the mixture would be right by chance alone."""
    service = Service(overlap=True)
    predict = following(service, images, every=0.02)
    x = images[0][500:520]
    answers, stop = [], threading.Event()

    def ask():
        while not stop.is_set():
            answers.append(predict(x))

    with predict:
        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        old = predict.network
        service.redraw()
        end = time.monotonic() + 60
        while predict.network is old and time.monotonic() < end:
            time.sleep(0.01)
        new = predict.network
        count = len(answers)
        while len(answers) < count + 6 and time.monotonic() < end:
            time.sleep(0.01)
        stop.set()
        for thread in threads:
            thread.join()
    assert len(predict.refits) == 1
    wanted = [predict_logits(old, x), predict_logits(new, x)]
    assert not torch.equal(*wanted)
    kinds = [[torch.equal(one, logits) for logits in wanted] for one in answers]
    assert all(any(kind) for kind in kinds)
    assert any(kind[0] for kind in kinds)
    assert any(kind[1] for kind in kinds)


def test_without_waiting_the_error_is_typed_and_the_fit_goes_on(images):
    service = Service()
    predict = following(service, images, wait=0)
    service.redraw()
    with pytest.raises(MatrixRedrawnError) as raised:
        predict(images[0][:5])
    assert raised.value.new == service.versions[-1].fingerprint
    predict.follow()
    assert predict(images[0][:5]).shape == (5, CLASSES)
    assert len(predict.refits) == 1


def test_a_redraw_during_the_refit_begins_it_again(images):
    service = Service()
    predict = following(service, images)

    def once(client):
        if client.fingerprint == service.versions[-1].fingerprint != first:
            service.on_measure = None
            service.redraw()

    first = service.versions[0].fingerprint
    service.redraw()
    service.on_measure = once
    logits = predict(images[0][500:])
    assert right(logits, images[1][500:]) > 0.85
    assert len(service.versions) == 3
    assert predict.network.device.fingerprint == service.versions[2].fingerprint
    assert [refit.new for refit in predict.refits] == [service.versions[2].fingerprint]


def test_a_service_that_redraws_all_the_time_is_given_up(images):
    service = Service()
    predict = following(service, images)
    service.redraw()
    service.on_measure = lambda client: service.redraw()
    with pytest.raises(MatrixRedrawnError):
        predict.follow()
    assert len(service.versions) < 12
    assert service.frames == {}


def test_no_frame_is_taken_of_a_budget_that_is_too_small(images):
    service = Service()
    predict = following(service, images)
    service.redraw()
    service.budget = 499
    with pytest.raises(FrameBudgetError) as raised:
        predict(images[0][:5])
    assert isinstance(raised.value, BudgetExceededError)
    assert raised.value.details == {"needed": 500, "left": 499}
    assert service.frames == {}
    service.budget = 505
    predict.follow()
    assert predict(images[0][:5]).shape == (5, CLASSES)
    assert sum(service.frames.values()) == 505


def test_a_fit_that_fails_is_not_paid_for_at_every_prediction(images):
    service = Service()
    network, bits = fitted(service, images)
    service.frames.clear()
    wild = TrainingConfig(epochs=2, batch_size=50, learning_rate=1e9)
    predict = Following(network, bits[:500], images[1][:500], wild, reopen=service.open, seed=0)
    service.redraw()
    for _ in range(3):
        with pytest.raises(Exception, match="loss"):
            predict(images[0][:5])
    assert sum(service.frames.values()) == 500


def test_look_says_whether_there_is_another_matrix(images):
    service = Service(overlap=True)
    predict = following(service, images)
    assert predict.look() is False
    service.redraw()
    assert predict.look() is True
    predict.follow()
    assert predict.look() is False
    service.gone = True
    with pytest.raises(DeviceGoneError):
        predict.look()


def test_closing_ends_a_fit(images):
    service = Service()
    predict = following(service, images, every=1000)
    service.redraw()
    service.on_measure = lambda client: predict.close()
    with pytest.raises(ClosedError):
        predict(images[0][:5])
    assert predict.refits == ()


def test_what_cannot_be_followed_is_refused(images):
    service = Service()
    network, bits = fitted(service, images)
    y = images[1]
    with pytest.raises(ValueError, match="label"):
        Following(network, bits[:500], y[:499], reopen=service.open, seed=0)
    with pytest.raises(ValueError, match="wait"):
        Following(network, bits[:500], y[:500], reopen=service.open, seed=0, wait=-1)
    plain = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, CLASSES))
    with pytest.raises(ValueError, match="reopen"):
        Following(network, bits[:500], y[:500], seed=0)
    with pytest.raises(ValueError, match="no device"):
        Following(defend(plain, at="1", device=None, hidden=N, seed=0), bits, y, reopen=service.open, seed=0)


def served(one, name, images, overlap=0.0, **budgets):
    """The same network over a Unix socket, where a ledger counts."""
    one.serve(name, SimulatedOPU.create(N, M, seed=1), policy=Redraw(overlap=overlap))
    device = one.client(name, one.token(name, **budgets))
    x, y = images
    torch.manual_seed(0)
    plain = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, CLASSES))
    network = defend(plain, at="1", device=device, seed=0).eval()
    network(x[:2])
    bits = encode_bits(network, images)
    fit_classifier(network, bits[:500], y[:500], QUICK, seed=0)
    return network, bits[:500], y[:500]


def test_the_real_service_is_followed(images):
    x, y = images[0][500:], images[1][500:]
    with bench() as one:
        network, bits, labels = served(one, "lab", images, frames=2 + 500 + 200 + 500 + 200)
        operator = one.client("lab")
        predict = Following(network, bits, labels, QUICK, seed=0)
        before = right(predict(x), y)
        operator.redraw()
        logits = predict(x)
        assert one.frames("lab") == 2 + 500 + 200 + 500 + 200  # and none is left
        assert right(logits, y) > before - 0.05 > 0.85
        (refit,) = predict.refits
        assert refit.frames == 500
        assert refit.new == operator.reopened().fingerprint == predict.network.device.fingerprint
        operator.redraw()
        with pytest.raises(FrameBudgetError) as raised:
            predict(x[:1])
        assert raised.value.details == {"needed": 500, "left": 0}


def test_an_overlap_at_the_real_service_is_noticed_in_its_answers(images):
    x, y = images[0][500:520], images[1][500:520]
    with bench() as one:
        network, bits, labels = served(one, "lab", images, overlap=600.0)
        predict = Following(network, bits, labels, QUICK, seed=0, wait=0)
        old = predict(x)
        one.client("lab").redraw()
        assert torch.equal(predict(x), old)  # and now it is fitted
        assert predict.fitting or predict.refits
        predict.follow()
        assert len(predict.refits) == 1
        assert not torch.equal(predict(x), old)
        assert right(predict(x), y) > 0.85
        assert torch.equal(network(x), old)  # as long as the old matrix answers


def test_the_mixture_would_be_seen(images):
    """The control of the tests above: the old classifier on the new matrix guesses."""
    service = Service()
    network, bits = fitted(service, images)
    before = accuracy_of_bits(network, bits[500:], images[1][500:])
    service.redraw()
    with suppress(MatrixRedrawnError):
        network(images[0][:2])
    network.block.hold(service.open(), "bits")
    assert before > 0.9
    assert accuracy_of_bits(network, bits[500:], images[1][500:]) < 0.4
