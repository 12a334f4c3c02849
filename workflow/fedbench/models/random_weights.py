"""Snapshots of a given shape with random weights, for tests and for memory and speed work; never a result."""

from pathlib import Path

from fedbench.spec import RandomWeights


def make(weights: RandomWeights, folder: Path) -> None:
    """Save a randomly initialised model of any type and a byte-level tokenizer trained on a fixed text."""
    import torch
    from tokenizers import ByteLevelBPETokenizer
    from tokenizers.processors import TemplateProcessing
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, PreTrainedTokenizerFast
    from transformers.utils import logging

    from fedbench.models import palm
    from fedbench.models.architectures import architecture

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    palm.register()
    options = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, **weights.config}
    config = AutoConfig.for_model(options.pop("model_type"), **options)
    if config.is_encoder_decoder:
        config.decoder_start_token_id = config.pad_token_id
    facts = architecture(config.model_type)
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(
        ["proto tcp udp service http dns state S0 SF history duration bytes packets port classify normal anomaly"],
        vocab_size=int(weights.config["vocab_size"]),
        special_tokens=["<pad>", "<unk>", "<s>", "</s>"],
    )
    if facts.frame != "$A":
        trained.post_processor = TemplateProcessing(single=facts.frame, special_tokens=[("<s>", 2), ("</s>", 3)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=trained._tokenizer, pad_token="<pad>", unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )
    tokenizer.chat_template = (
        "{% for m in messages %}<s>{{ m['role'] }}\n{{ m['content'] }}</s>\n{% endfor %}"
        "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
    )
    torch.manual_seed(weights.seed)
    kind = AutoModelForCausalLM if facts.generative else AutoModel
    kind.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
