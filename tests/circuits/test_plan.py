"""Plans: every world once, no world started too late, little work done twice."""

import itertools

import numpy as np
import pytest

from interp_jax.circuits.plan import Costs, first_positions, make_plan

DEPTH, LENGTH = 6, 10
GRID = np.array(list(itertools.product(range(DEPTH), range(LENGTH))))
COSTS = Costs(DEPTH, LENGTH, batch=4, fixed_rows=8)


def work(chunks, costs=COSTS):
  """Rows of a layer that a plan runs."""
  return sum(
    len(c.worlds) * (costs.depth - c.layer) * costs.batch * (costs.length - c.position)
    for c in chunks
  )


@pytest.mark.parametrize('programs', [1, 3, None])
@pytest.mark.parametrize(('most', 'multiple'), [(3, 1), (100, 1), (16, 8)])
def test_every_world_runs_once_and_starts_in_time(programs, most, multiple):
  layers, positions = GRID.T
  chunks = make_plan(layers, positions, COSTS, lambda n: most, multiple, programs)
  done = np.concatenate([c.worlds[: c.count] for c in chunks])
  assert sorted(done) == list(range(len(GRID)))
  for chunk in chunks:
    assert (layers[chunk.worlds] >= chunk.layer).all()
    assert (positions[chunk.worlds] >= chunk.position).all()
    assert len(chunk.worlds) % multiple == 0
    assert len(chunk.worlds) <= max(most, multiple)
  assert len({c.position for c in chunks}) <= (programs or LENGTH)
  # One shape for each position to start at.
  shapes = {(c.position, len(c.worlds)) for c in chunks}
  assert len(shapes) == len({c.position for c in chunks})


def test_more_programs_and_smaller_chunks_do_less_work_down_to_none_in_vain():
  layers, positions = GRID.T
  plan = lambda most, programs: work(
    make_plan(layers, positions, COSTS, lambda n: most, 1, programs)
  )
  by_programs = [plan(1, programs) for programs in (1, 2, 4, LENGTH)]
  assert by_programs == sorted(by_programs, reverse=True)
  needed = sum((DEPTH - layer) * 4 * (LENGTH - position) for layer, position in GRID)
  assert by_programs[-1] == needed


@pytest.mark.parametrize('programs', [1, 2, 3, 4])
def test_first_positions_are_the_best_there_are(programs):
  rng = np.random.default_rng(programs)
  positions, weights = rng.integers(1, LENGTH, 12), rng.integers(1, 5, 12).astype(float)

  def total(starts):
    begin = np.array([max(s for s in starts if s <= p) for p in positions])
    return (weights * (LENGTH - begin)).sum()

  found = first_positions(positions, weights, COSTS, programs)
  places = sorted(set(positions.tolist()))
  choices = [
    (places[0], *rest)
    for k in range(programs)
    for rest in itertools.combinations(places[1:], k)
  ]
  assert found[0] == places[0]
  assert total(found) == min(map(total, choices))


def test_what_costs_less_than_compiling_is_one_program():
  positions = GRID[:, 1]
  tiny, huge = (Costs(DEPTH, LENGTH, 4, 8, flops) for flops in (1e3, 1e12))
  weights = np.ones(len(positions))
  assert first_positions(positions, weights, tiny) == [0]
  assert first_positions(positions, weights, huge) == list(range(LENGTH))


def test_long_sequences_start_at_some_positions():
  costs = Costs(2, 5000, 1, 8, 1e12)
  positions = np.arange(7, 5000)
  starts = first_positions(positions, np.ones(len(positions)), costs, 20)
  assert len(starts) == 20
  assert starts[0] <= 7
