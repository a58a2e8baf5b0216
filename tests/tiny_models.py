"""Tiny models of the families that transformers has, written to a directory. No network."""

import json
import os

import pytest
import torch

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

transformers = pytest.importorskip("transformers")
pytest.importorskip("PIL")
transformers.utils.logging.disable_progress_bar()

WORDS = "the a cat dog sat ran on mat log big red old and then it was here far blue sea".split()
SMALL = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
}  # fmt: skip
DECODERS = ["gpt2", "llama"]


def tokenizer(special=True, limit=None):
    """Words of WORDS and their letters; with [CLS] and [SEP] around, or bare as for GPT-2."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    letters = list("abcdefghijklmnopqrstuvwxyz")
    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    pieces = [*marks, *WORDS, *(c for c in letters if c not in WORDS), *("##" + c for c in letters)]
    inner = Tokenizer(models.WordPiece({p: i for i, p in enumerate(pieces)}, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    names = {"unk_token": "[UNK]"}
    if special:
        ends = [("[CLS]", 2), ("[SEP]", 3)]
        inner.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=ends
        )
        names |= {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    else:
        names |= {"bos_token": "[CLS]", "eos_token": "[SEP]"}
    if limit is not None:
        names["model_max_length"] = limit
    return transformers.PreTrainedTokenizerFast(tokenizer_object=inner, **names)


def text_model(kind, seed=0):
    """An untrained text model, its weights far from zero, so that texts differ."""
    vocabulary = {"vocab_size": len(tokenizer())}
    torch.manual_seed(seed)
    if kind == "bert":
        model = transformers.BertModel(transformers.BertConfig(
            **SMALL, **vocabulary, max_position_embeddings=40))  # fmt: skip
    elif kind == "roberta":
        model = transformers.RobertaModel(transformers.RobertaConfig(
            **SMALL, **vocabulary, max_position_embeddings=42, pad_token_id=0))  # fmt: skip
    elif kind == "distilbert":
        model = transformers.DistilBertModel(transformers.DistilBertConfig(
            **vocabulary, dim=16, n_layers=2, n_heads=2, hidden_dim=32,
            max_position_embeddings=40))  # fmt: skip
    elif kind == "gpt2":
        model = transformers.GPT2Model(transformers.GPT2Config(
            **vocabulary, n_embd=16, n_layer=2, n_head=2, n_positions=40,
            bos_token_id=2, eos_token_id=3))  # fmt: skip
    elif kind == "llama":  # rotary positions, fewer heads for keys than for queries
        model = transformers.LlamaModel(transformers.LlamaConfig(
            **SMALL, **vocabulary, num_key_value_heads=1, max_position_embeddings=40,
            pad_token_id=0, bos_token_id=2, eos_token_id=3))  # fmt: skip
    elif kind == "t5":
        model = transformers.T5EncoderModel(transformers.T5Config(
            **vocabulary, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2,
            pad_token_id=0, decoder_start_token_id=0))  # fmt: skip
    else:
        raise ValueError(kind)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(10)
    return model.eval()


def save_text(directory, kind="bert", seed=0, limit=None):
    """Model and tokenizer in a directory; returns the model."""
    model = text_model(kind, seed)
    model.save_pretrained(directory)
    tokenizer(special=kind not in DECODERS, limit=limit).save_pretrained(directory)
    return model


def image_model(kind, seed=0):
    """An untrained vision model for images of 32 pixels."""
    t = transformers
    torch.manual_seed(seed)
    image = {"image_size": 32, "patch_size": 8, "num_channels": 3}
    maps = {"num_channels": 3, "depths": [1, 1], "hidden_sizes": [8, 16], "embedding_size": 8}
    if kind == "vit":
        model = t.ViTModel(t.ViTConfig(**SMALL, **image))
    elif kind == "vit_classifier":  # a checkpoint without a pooler
        model = t.ViTForImageClassification(t.ViTConfig(**SMALL, **image, num_labels=3))
    elif kind == "dinov2":
        model = t.Dinov2Model(t.Dinov2Config(
            **image, hidden_size=16, num_hidden_layers=2, num_attention_heads=2))  # fmt: skip
    elif kind == "convnext":
        model = t.ConvNextModel(t.ConvNextConfig(
            num_channels=3, depths=[1, 1], hidden_sizes=[8, 16], num_stages=2,
            patch_size=4))  # fmt: skip
    elif kind == "swin":
        model = t.SwinModel(t.SwinConfig(
            image_size=32, patch_size=4, embed_dim=8, depths=[1, 1], num_heads=[2, 2],
            window_size=4))  # fmt: skip
    elif kind == "resnet":
        model = t.ResNetModel(t.ResNetConfig(**maps))
    elif kind == "mobilenet_v2":
        model = t.MobileNetV2Model(t.MobileNetV2Config(
            image_size=32, depth_multiplier=0.1, min_depth=4))  # fmt: skip
    elif kind == "mobilenet_v1":
        model = t.MobileNetV1Model(t.MobileNetV1Config(
            image_size=32, depth_multiplier=0.1, min_depth=4))  # fmt: skip
    elif kind in ("clip", "siglip"):
        text = {**SMALL, "vocab_size": 50, "max_position_embeddings": 16}
        vision = {**SMALL, **image}
        if kind == "clip":
            model = t.CLIPModel(t.CLIPConfig(text_config=text, vision_config=vision))
        else:
            model = t.SiglipModel(t.SiglipConfig(text_config=text, vision_config=vision))
    elif kind == "clip_vision":
        model = t.CLIPVisionModel(t.CLIPVisionConfig(**SMALL, **image))
    else:
        raise ValueError(kind)
    with torch.no_grad():  # so that different images have different features
        for parameter in model.parameters():
            if parameter.ndim == 4:
                torch.nn.init.kaiming_normal_(parameter)
    return model.eval()


PREPROCESSING = {
    "image_processor_type": "ViTImageProcessor", "do_resize": True, "do_rescale": True,
    "do_normalize": True, "size": {"height": 32, "width": 32}, "resample": 2,
    "rescale_factor": 1 / 255, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.5, 0.25, 0.2],
}  # fmt: skip


def save_image(directory, kind="vit", seed=0, **preprocessing):
    """Model and preprocessing in a directory; returns the model."""
    model = image_model(kind, seed)
    model.save_pretrained(directory)
    settings = json.dumps(PREPROCESSING | preprocessing)
    (directory / "preprocessor_config.json").write_text(settings)
    return model


def audio_model(kind, seed=0):
    """An untrained speech or sound model: frames of 20 samples; Whisper takes a second of sound."""
    t = transformers
    torch.manual_seed(seed)
    waves = {
        **SMALL, "conv_dim": (8, 8), "conv_stride": (5, 4), "conv_kernel": (10, 4),
        "num_feat_extract_layers": 2, "num_conv_pos_embeddings": 4,
        "num_conv_pos_embedding_groups": 2, "vocab_size": 10,
    }  # fmt: skip
    by_frame = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
    if kind == "wav2vec2":
        model = t.Wav2Vec2Model(t.Wav2Vec2Config(**waves, **by_frame))
    elif kind == "wav2vec2_group":
        model = t.Wav2Vec2Model(t.Wav2Vec2Config(**waves))
    elif kind == "hubert":
        model = t.HubertModel(t.HubertConfig(**waves, **by_frame))
    elif kind == "hubert_group":
        model = t.HubertModel(t.HubertConfig(**waves))
    elif kind == "wavlm":
        model = t.WavLMModel(t.WavLMConfig(**waves, **by_frame))
    elif kind == "unispeech":
        model = t.UniSpeechModel(t.UniSpeechConfig(**waves, **by_frame))
    elif kind == "unispeech_sat":
        model = t.UniSpeechSatModel(t.UniSpeechSatConfig(**waves, **by_frame))
    elif kind == "whisper":
        model = t.WhisperModel(t.WhisperConfig(
            vocab_size=20, num_mel_bins=16, d_model=16, encoder_layers=2, decoder_layers=1,
            encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=32,
            decoder_ffn_dim=32, max_source_positions=50, pad_token_id=0, bos_token_id=0,
            eos_token_id=0, decoder_start_token_id=0))  # fmt: skip
    elif kind == "ast":
        model = t.ASTModel(t.ASTConfig(
            **SMALL, patch_size=4, frequency_stride=3, time_stride=5, max_length=64,
            num_mel_bins=16))  # fmt: skip
    else:
        raise ValueError(kind)
    with torch.no_grad():  # so that different sounds have different features
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(5)
    return model.eval()


def audio_feature_extractor(kind):
    """What prepares sounds for the model of this kind."""
    t = transformers
    if kind == "whisper":
        return t.WhisperFeatureExtractor(feature_size=16, chunk_length=1)
    if kind == "ast":
        return t.ASTFeatureExtractor(num_mel_bins=16, max_length=64)
    return t.Wav2Vec2FeatureExtractor(return_attention_mask="group" not in kind)


def save_audio(directory, kind="wav2vec2", seed=0):
    """Model and feature extractor in a directory; returns the model."""
    model = audio_model(kind, seed)
    model.save_pretrained(directory)
    audio_feature_extractor(kind).save_pretrained(directory)
    return model
