"""What every memory must do. A memory's test class inherits this and names a small one."""

import pytest
import torch

from lightning_ebm.memory import AssociativeMemory, PatternSpec
from lightning_ebm.settings import Settings

EPISODES, ITEMS = 3, 4
IMAGES = PatternSpec((1, 8, 8), binary=False)


def build(kind, shape, real=False, **settings):
    """A memory or an energy of class `kind` with settings, for binary patterns of a shape, or real ones."""
    return kind(PatternSpec(shape, binary=not real), kind.config(**settings))


def descend(net, loss, steps, rate):
    """Adam on `loss(step)`."""
    optimiser = torch.optim.Adam(net.parameters(), lr=rate)
    for step in range(steps):
        optimiser.zero_grad()
        loss(step).backward()
        optimiser.step()


def train(memory, episodes, steps=60, rate=3e-3):
    """Adam on the meta-loss of `episodes(step)`: patterns and queries."""
    descend(memory, lambda step: memory.meta_loss(*episodes(step)), steps, rate)


def wrong_bits(memory, patterns, queries, mask=None):
    with torch.no_grad():
        answer = memory.read(memory.write(patterns), queries, mask)[-1].round()
    return (answer != patterns).float().sum(-1).mean().item()


def slope_along(loss, parameters, directions, step):
    """The slope of `loss()` along directions of parameters, by central differences of fourth order."""
    starts, losses = [parameter.data for parameter in parameters], []
    for offset in (-2, -1, 1, 2):
        for parameter, start, direction in zip(parameters, starts, directions, strict=True):
            parameter.data = start + offset * step * direction
        losses.append(loss().item())
    for parameter, start in zip(parameters, starts, strict=True):
        parameter.data = start
    return (losses[0] - 8 * losses[1] + 8 * losses[2] - losses[3]) / (12 * step)


def check_meta_gradient(memory, episode, step, atol, parameters=None):
    """The meta-loss's gradient against central differences along a random direction of each parameter, in float64.

    `episode` holds the arguments of the meta-loss; `parameters` are names and parameters, by default the memory's.
    """
    memory.meta_loss(*episode).backward()
    for name, parameter in parameters or memory.named_parameters():
        direction = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
        numeric = slope_along(lambda: memory.meta_loss(*episode), [parameter], [direction], step)
        assert (parameter.grad * direction).sum().item() == pytest.approx(numeric, rel=1e-5, abs=atol), name


class MemoryContract:
    """Subclasses set `kind` and `config`, or `build`; and `spec`, unless patterns are 24 bits."""

    spec = PatternSpec((24,), binary=True)
    kind: type[AssociativeMemory]
    config: Settings
    learns_first = 0  # updates on the episode before its recall is tested, of memories that recall nothing untrained
    has_state = True  # False for the reference line that keeps nothing
    incremental = True  # False if writing patterns together is more than writing one after the other

    def build(self) -> AssociativeMemory:
        """A small memory for `spec`, fresh but always with the same parameters."""
        return self.kind(self.spec, self.config)

    @pytest.fixture
    def memory(self):
        torch.manual_seed(0)
        return self.build()

    @pytest.fixture
    def episode(self):
        """Patterns, queries and mask: (EPISODES, ITEMS, *shape), a quarter of the values re-drawn."""
        generator = torch.Generator().manual_seed(1)
        shape = (EPISODES, ITEMS, *self.spec.shape)
        patterns, noise = torch.rand(shape, generator=generator), torch.rand(shape, generator=generator)
        if self.spec.binary:
            patterns, noise = patterns.round(), noise.round()
        mask = torch.rand(shape, generator=generator) < 0.25
        return patterns, torch.where(mask, noise, patterns), mask

    def test_shapes_dtypes_and_range(self, memory, episode):
        patterns, queries, mask = episode
        state = memory.write(patterns)
        assert bool(state) == self.has_state
        for name, tensor in state.items():
            assert tensor.shape[0] == EPISODES, name
        for told in (None, mask):
            trajectory = memory.read(state, queries[:, :2], told if told is None else told[:, :2])
            assert trajectory.shape[1:] == queries[:, :2].shape
            assert trajectory.dtype == queries.dtype
            assert trajectory.min() >= 0
            assert trajectory.max() <= 1

    def test_initial_state_has_the_shape_of_a_written_one(self, memory, episode):
        written, initial = memory.write(episode[0]), memory.initial_state(EPISODES)
        assert {k: (v.shape, v.dtype) for k, v in initial.items()} == {
            k: (v.shape, v.dtype) for k, v in written.items()
        }
        assert memory.read(initial, episode[1]).isfinite().all()

    def test_writing_changes_nothing_but_the_returned_state(self, memory, episode):
        patterns, queries, mask = episode
        before = [x.detach().clone() for x in (*episode, *memory.parameters(), *memory.buffers())]
        state = memory.write(patterns)
        kept = {name: tensor.detach().clone() for name, tensor in state.items()}
        first = memory.read(state, queries, mask)
        memory.write(1 - patterns)
        torch.testing.assert_close(memory.read(state, queries, mask), first, rtol=0, atol=0)
        for name in kept:
            torch.testing.assert_close(state[name], kept[name], rtol=0, atol=0)
        after = (*episode, *memory.parameters(), *memory.buffers())
        for old, new in zip(before, after, strict=True):
            torch.testing.assert_close(new.detach(), old, rtol=0, atol=0)

    def test_order_of_patterns(self, memory, episode):
        if not memory.order_invariant:
            pytest.skip("this memory does not promise it")
        memory = memory.double()
        patterns, queries, _ = (x.double() for x in episode)
        straight = memory.read(memory.write(patterns), queries)
        reverse = memory.read(memory.write(patterns.flip(1)), queries)
        torch.testing.assert_close(reverse, straight, rtol=1e-9, atol=1e-9)

    def test_episodes_are_independent(self, memory, episode):
        memory = memory.double()
        patterns, queries, mask = episode[0].double(), episode[1].double(), episode[2]
        together = memory.read(memory.write(patterns), queries, mask)
        alone = memory.read(memory.write(patterns[1:2]), queries[1:2], mask[1:2])
        torch.testing.assert_close(together[:, 1:2], alone, rtol=1e-9, atol=1e-9)

    def test_state_survives_save_load_and_another_instance(self, memory, episode, tmp_path):
        patterns, queries, mask = episode
        state = {k: v.detach() for k, v in memory.write(patterns).items()}
        torch.save(state, tmp_path / "state.pt")
        torch.manual_seed(0)
        answer = self.build().read(torch.load(tmp_path / "state.pt", weights_only=True), queries, mask)
        torch.testing.assert_close(answer, memory.read(state, queries, mask), rtol=1e-5, atol=1e-5)

    def test_every_trainable_parameter_gets_a_finite_gradient(self, memory, episode):
        parameters = {k: p for k, p in memory.named_parameters() if p.requires_grad}
        if not parameters:
            pytest.skip("not meta-trained")
        memory.meta_loss(*episode[:2]).backward()
        for name, parameter in parameters.items():
            assert parameter.grad is not None, f"{name} gets no gradient"
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.abs().max() > 0, f"the gradient of {name} is zero"

    def test_an_intact_query_is_not_recalled_worse_than_a_corrupted_one(self, memory, episode):
        patterns, queries, _ = episode

        def corrupted_anew(_step):
            noise = torch.rand_like(patterns).round() if self.spec.binary else torch.rand_like(patterns)
            return patterns, torch.where(torch.rand_like(patterns) < 0.25, noise, patterns)

        if self.learns_first:
            train(memory, corrupted_anew, self.learns_first)
        state = memory.write(patterns)

        def error(query):
            return (memory.read(state, query)[-1] - patterns).square().sum().item()

        assert error(patterns) <= error(queries) + 1e-6

    def test_known_values_are_kept(self, memory, episode):
        patterns, queries, mask = episode
        answer = memory.read(memory.write(patterns), queries, mask)[-1]
        torch.testing.assert_close(answer[~mask], patterns[~mask])

    def test_a_mask_of_all_values_does_not_discard_the_query(self, memory, episode):
        patterns, queries, mask = episode
        state = memory.write(patterns)

        def difference(told):
            """How far the answers to two queries are apart."""
            answers = memory.read(state, queries, told)[-1]
            return (answers[:, 0] - answers[:, 1]).abs().amax().item()

        assert difference(torch.ones_like(mask)) > 0.1 * difference(None)

    @pytest.mark.parametrize(
        ("spoil", "message"),
        [
            (lambda x: x + 1, r"\[0, 1\]"),
            (lambda x: x - 1, r"\[0, 1\]"),
            (lambda x: x * float("nan"), r"\[0, 1\]"),
            (lambda x: x.int(), "floating point"),
            (lambda x: x.flatten(), "episodes, items"),
            (lambda x: x[:, :0], "empty"),
        ],
    )
    def test_bad_patterns_are_refused(self, memory, episode, spoil, message):
        patterns, queries, _ = episode
        with pytest.raises(ValueError, match=message):
            memory.write(spoil(patterns))
        with pytest.raises(ValueError, match=message):
            memory.read(memory.write(patterns), spoil(queries))

    def test_a_state_of_other_episodes_is_refused(self, memory, episode):
        patterns, queries, mask = episode
        state = memory.write(patterns[:1])
        if not state:
            pytest.skip("this memory keeps nothing")
        told = rf"with the episodes of the state, 1, got \({EPISODES}, "
        for work in (memory.read, memory.update, memory.energy):
            if hasattr(work, "__wrapped__"):  # the memory has it
                with pytest.raises(ValueError, match=told):
                    work(state, queries)
        with pytest.raises(ValueError, match=r"mask must be torch.bool of the queries' shape, \(1, "):
            memory.read(state, queries[:1], mask=mask)

    def test_it_cites_its_paper(self, memory):
        assert memory.citation.strip()

    def test_updating_adds_to_the_state(self, memory, episode):
        patterns, queries, _ = episode
        try:
            state = memory.update(memory.initial_state(EPISODES), patterns[:, :2])
        except NotImplementedError:
            pytest.skip("this memory writes all patterns at once")
        memory, patterns, queries = memory.double(), patterns.double(), queries.double()
        state = memory.update(memory.initial_state(EPISODES), patterns[:, :2])
        both = memory.update(state, patterns[:, 2:])
        assert memory.read(both, queries).isfinite().all()
        assert any(not torch.equal(both[name], state[name]) for name in state)

    def test_one_pattern_after_the_other_is_all_of_them(self, memory, episode):
        if not self.incremental:
            pytest.skip("this memory does not promise it")
        memory, patterns = memory.double(), episode[0].double()
        state = memory.initial_state(EPISODES)
        try:
            for pattern in patterns.split(1, dim=1):
                state = memory.update(state, pattern)
        except NotImplementedError:
            pytest.skip("this memory writes all patterns at once")
        torch.testing.assert_close(state, memory.write(patterns), rtol=0, atol=1e-10)
