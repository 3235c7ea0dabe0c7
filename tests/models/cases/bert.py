"""BERT, with its heads and without."""

from tests.models.cases.case import Case, now, then

_BERT = {
  'vocab_size': 61,
  'hidden_size': 20,
  'num_hidden_layers': 3,
  'num_attention_heads': 5,
  'intermediate_size': 27,
  'max_position_embeddings': 31,
}
_HUB_BERT = {
  'attention_probs_dropout_prob': 0.1,
  'gradient_checkpointing': False,
  'hidden_act': 'gelu',
  'hidden_dropout_prob': 0.1,
  'hidden_size': 20,
  'initializer_range': 0.02,
  'intermediate_size': 27,
  'layer_norm_eps': 1e-12,
  'max_position_embeddings': 31,
  'model_type': 'bert',
  'num_attention_heads': 5,
  'num_hidden_layers': 3,
  'pad_token_id': 0,
  'position_embedding_type': 'absolute',
  'transformers_version': '4.6.0.dev0',
  'type_vocab_size': 2,
  'use_cache': True,
  'vocab_size': 61,
}
BERT = [
  *now(
    'bert',
    _BERT,
    masked={'architecture': 'BertForMaskedLM'},
    encoder={'architecture': 'BertModel', 'hidden_act': 'relu'},
  ),
  Case(
    'bert-masked-untied',
    {
      'model_type': 'bert',
      **_BERT,
      'tie_word_embeddings': False,
      'hidden_act': 'gelu_new',
      'type_vocab_size': 3,
    },
    architecture='BertForMaskedLM',
  ),
  Case(
    'bert-encoder-without-pooler',
    {'model_type': 'bert', **_BERT},
    renames={r'^pooler\..*': ''},
    architecture='BertModel',
  ),
  then(
    'bert-then',
    {**_HUB_BERT, 'architectures': ['BertForMaskedLM']},
    {r'LayerNorm\.weight$': 'LayerNorm.gamma', r'LayerNorm\.bias$': 'LayerNorm.beta'},
    {
      'bert.pooler.dense.weight': ((20, 20), 'F32'),
      'bert.pooler.dense.bias': ((20,), 'F32'),
      'cls.seq_relationship.weight': ((2, 20), 'F32'),
      'cls.seq_relationship.bias': ((2,), 'F32'),
    },
  ),
  then(
    'bert-encoder-then',
    {**_HUB_BERT, 'architectures': ['BertModel']},
    {},
    {'embeddings.position_ids': ((1, 31), 'I64')},
  ),
]
