"A model that trains in milliseconds: SmolLM2's tokenizer and chat template, and a Llama of two layers that knows nothing."

from pathlib import Path

from legal_llm.models import load_tokenizer


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


def make_data(folder: Path, size: int = 160) -> Path:
    "A prepared data set of a few written contracts, in windows of so many tokens"
    from legal_llm.data import DataSettings, prepare_data

    return prepare_data(DataSettings(n=21, size=size, overlap=32), folder, load_tokenizer('smollm2'), progress=False).path
