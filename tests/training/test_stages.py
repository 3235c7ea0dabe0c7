"""The clock of stages."""

import concurrent.futures
import json

from interp_jax.training import Clock


def test_stages_that_run_within_each_other_share_the_clocks_file(tmp_path):
  clock = Clock(tmp_path / 'clock.json')

  def count(stage):
    for _ in range(50):
      with clock.count(stage):
        pass

  with concurrent.futures.ThreadPoolExecutor(4) as pool:
    list(pool.map(count, 'abcd'))
  written = json.loads((tmp_path / 'clock.json').read_text(encoding='utf-8'))
  assert set(written) == set('abcd')
