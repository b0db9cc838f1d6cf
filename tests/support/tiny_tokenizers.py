"""Tiny tokenizers of each kind, trained here in moments, and texts in many scripts for them."""

from tokenizers import (
    BertWordPieceTokenizer,
    Tokenizer,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from tokenizers.models import BPE, Unigram, WordPiece

from diffmask_jax.data.encoding import batch_encode
from diffmask_jax.data.wordpieces import Encoded

TEXTS = [
    "the film is great fun, it's a warm film",
    "don't watch the U.S. version (2004): dull & slow!",
    "l'été à Paris n'est pas fini",
    "फिल्म अच्छी है, हिन्दी फिल्म",
    "映画は楽しい。电影很好看！",
    "Фильм очень хороший, правда?",
    "الفيلم جميل جدا، شكرا",
    "그 영화는 정말 좋았다",
    "so good 😀 👨‍👩‍👧 naïve cafe\u0301",
]


def word_piece(lowercase: bool = True, special=("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")):
    """As BERT splits texts."""
    tokenizer = Tokenizer(WordPiece(unk_token=special[1]))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=220, special_tokens=list(special), show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.post_processor = _template(tokenizer, special[2], special[3], twice=False)
    return tokenizer


def of_pieces(*pieces: str):
    """As BERT splits texts, with exactly these word pieces, for what is worked out by hand."""
    vocabulary = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *pieces)
    bert = BertWordPieceTokenizer({piece: number for number, piece in enumerate(vocabulary)})
    return Tokenizer.from_str(bert.to_str())


def byte_level(
    prefix: bool = False, trim: bool = True, special=("<s>", "<pad>", "</s>", "<unk>", "<mask>")
):
    """As RoBERTa splits texts: pieces of bytes, one blank at the beginning of a word's."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS * 2, trainer)
    ends = ((special[2], 2), (special[0], 0))
    tokenizer.post_processor = processors.RobertaProcessing(*ends, trim, prefix)
    return tokenizer


def unigram(
    splits_first: bool = True, special=("<s>", "<pad>", "</s>", "<unk>", "<mask>"), twice=True
):
    """As SentencePiece splits texts: at blanks alone, and a blank may be a piece."""
    tokenizer = Tokenizer(Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    metaspace = pre_tokenizers.Metaspace()
    first = [pre_tokenizers.WhitespaceSplit()] if splits_first else []
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*first, metaspace])
    trainer = trainers.UnigramTrainer(
        vocab_size=200, special_tokens=list(special), unk_token=special[3], show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.post_processor = _template(tokenizer, special[0], special[2], twice)
    return tokenizer


def _template(tokenizer: Tokenizer, first: str, last: str, twice: bool):
    """[CLS] a [SEP] b [SEP], or <s> a </s></s> b </s>."""
    middle = f"{last}:0 {last}:0" if twice else f"{last}:0"
    return processors.TemplateProcessing(
        single=f"{first} $A {last}",
        pair=f"{first}:0 $A:0 {middle} $B:1 {last}:1",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in (first, last)],
    )


def encode(tokenizer, text) -> Encoded:
    """The word pieces of one text or pair."""
    (encoded,) = batch_encode(tokenizer, [text])
    return encoded
