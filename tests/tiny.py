"A model that trains in milliseconds: SmolLM2's tokenizer, and a Llama of two layers that knows nothing."

from pathlib import Path

from legal_llm.pipeline.models import load_tokenizer


def make_tiny(folder: Path) -> Path:
    "A base model in a folder, as `TrainSettings.base` takes it; the same weights each time"
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = load_tokenizer('smollm2')
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=8192,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return Path(folder)


def make_data(folder: Path) -> Path:
    "A prepared data set of a few synthetic contracts"
    from legal_llm.data import prepare_data
    from legal_llm.training.dataset import DataSettings

    return prepare_data(DataSettings(n=21), folder, progress=False).path


def tiny_settings(data, base, **settings):
    "Settings of a short training on the tiny model, without dev evaluations; `settings` differ, or are more"
    from legal_llm.training.settings import TrainSettings

    usual = dict(dtype='float32', window_tokens=96, probe_windows=40, eval_steps=0)
    return TrainSettings(data=str(data), base_model=str(base), **{**usual, **settings})


def make_examples(n: int = 3, window_tokens: int = 96, seed: int = 5):
    """Windows of a few synthetic contracts with what is known of them, without a screen: everything has the same odds,
    and what is true is in doubt, and a little more
    """
    import numpy as np

    from legal_llm.contracts.categories import CATEGORIES
    from legal_llm.contracts.sentences import label_sentences, split_sentences
    from legal_llm.contracts.synthetic import write_contracts
    from legal_llm.pipeline.windows import Example, cut_windows

    tokenizer, rng, out = load_tokenizer('smollm2'), np.random.default_rng(seed), []
    for contract in write_contracts(n, seed=seed):
        sentences = split_sentences(contract.text)
        label = label_sentences(sentences, contract.clauses, [c.name for c in CATEGORIES])
        doubt = label | (rng.random(label.shape) < 0.05)
        offset = rng.normal(-3, 1, label.shape).astype(np.float32)
        out += [
            Example(w, offset[w.sentences], doubt[w.sentences], label[w.sentences])
            for w in cut_windows(contract.text, sentences, tokenizer, window_tokens, doubt.any(1))
        ]
    return out
