"""One tiny dictionary of each kind, with a trainer and data for it."""

from typing import Any, NamedTuple

import numpy as np

from interp_jax.dictionaries import (
  L0,
  L1,
  AbsTopK,
  ArrayBatches,
  AuxK,
  BatchTopK,
  Crosscoder,
  CrossLayerTranscoder,
  DictionaryConfig,
  Gated,
  GateReconstruction,
  GroupMax,
  JumpReLU,
  Lp,
  Matryoshka,
  PreActivation,
  ReLU,
  Resample,
  Tanh,
  TopK,
  TrainerConfig,
  Transcoder,
)

WIDTH, FEATURES, SOURCES, BATCH = 8, 16, 3, 32
DEAD = AuxK(dead_after=2 * BATCH)
RESAMPLE = Resample(every=4, until=8, dead_after=BATCH)


class Architecture(NamedTuple):
  """A kind of dictionary: its parts, and what its trainer has beside the terms."""

  activation: Any
  terms: tuple
  wiring: Any = None
  trainer: dict = {}  # noqa: RUF012, it is not changed

  @property
  def config(self) -> DictionaryConfig:
    wiring = {} if self.wiring is None else {'wiring': self.wiring}
    return DictionaryConfig(WIDTH, FEATURES, self.activation, **wiring)

  def settings(self, **changes: Any) -> TrainerConfig:
    given: dict[str, Any] = {
      'steps': 10,
      'batch_size': BATCH,
      'learning_rate': 1e-2,
      'terms': self.terms,
      'log_every': 5,
      'eval_every': 0,
      'checkpoint_every': 0,
    }
    return TrainerConfig(**(given | self.trainer | changes))

  def rows(self, count: int = 256) -> Any:
    """Data with a structure to learn: inputs, or a mapping with targets."""
    rng = np.random.default_rng(5)
    shape = self.config.in_shape
    codes = np.maximum(rng.normal(size=(count, 6)) - 0.5, 0)
    inputs = np.einsum('nf,f...->n...', codes, rng.normal(size=(6, *shape)))
    inputs = (inputs + 0.1 * rng.normal(size=inputs.shape) + 0.5).astype(np.float32)
    if self.config.wiring.reconstructs:
      return inputs
    mix = rng.normal(size=(shape[-1], self.config.out_shape[-1]))
    return {'inputs': inputs, 'targets': np.tanh(inputs @ mix).astype(np.float32)}

  def batches(self, count: int = 256) -> Any:
    """An endless iterator of them."""
    return ArrayBatches(self.rows(count), BATCH, seed=1)


ARCHITECTURES = {
  'relu': Architecture(ReLU(), (L1(0.3, warmup=3),), trainer={'resample': RESAMPLE}),
  'relu_free': Architecture(ReLU(), (L1(0.3),), trainer={'unit_norm': False}),
  'gated': Architecture(Gated(), (L1(0.3), GateReconstruction())),
  'jumprelu': Architecture(JumpReLU(), (L0(0.1),)),
  'jumprelu_tanh': Architecture(
    JumpReLU(to_input=True), (Tanh(0.1), PreActivation(dead_after=BATCH))
  ),
  'topk': Architecture(TopK(3), (DEAD,)),
  'topk_by_norm': Architecture(
    TopK(3, by_norm=True), (DEAD,), trainer={'unit_norm': False}
  ),
  'abstopk': Architecture(AbsTopK(3), (DEAD,)),
  'batchtopk': Architecture(BatchTopK(3), (DEAD,)),
  'groupmax': Architecture(GroupMax(4), (DEAD,)),
  'matryoshka': Architecture(BatchTopK(3), (Matryoshka((4, 8)), DEAD)),
  'matryoshka_sampled': Architecture(TopK(3), (Matryoshka(sampled=3),)),
  'p_anneal': Architecture(ReLU(), (Lp(0.3, start=2, end=8, updates=3, window=2),)),
  'transcoder': Architecture(TopK(3), (DEAD,), Transcoder(out_width=6)),
  'skip_transcoder': Architecture(
    ReLU(), (L1(0.1),), Transcoder(out_width=6, use_skip=True)
  ),
  'crosscoder': Architecture(BatchTopK(3), (DEAD,), Crosscoder(SOURCES)),
  'crosscoder_relu': Architecture(ReLU(), (L1(0.1),), Crosscoder(SOURCES)),
  'cross_layer': Architecture(
    JumpReLU(to_input=True), (Tanh(0.1),), CrossLayerTranscoder(SOURCES)
  ),
  'cross_layer_topk': Architecture(TopK(3), (DEAD,), CrossLayerTranscoder(SOURCES)),
}
