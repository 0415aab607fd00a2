"""The fields of Hugging Face configurations that change neither weights, nor traffic, nor flop.

Any other field that no reader has read is refused by name.
"""

from __future__ import annotations

__all__ = ["costless"]

#: Bookkeeping of the library that wrote the file, and labels.
_BOOKKEEPING = """
    _attn_implementation _attn_implementation_autoset _attn_implementation_internal _commit_hash
    _experts_implementation_internal _name_or_path _output_attentions architectures auto_map
    custom_pipelines dtype finetuning_task id2label label2id model_type num_labels onnx_safe
    problem_type return_dict task_specific_params tf_legacy_loss tokenizer_class torch_dtype
    torchscript transformers.js_config transformers_version unsloth_fixed unsloth_version
    use_bfloat16
"""

#: Training: initial weights, dropout, auxiliary losses, placement of ranks, kernels.
_TRAINING = """
    attention_softmax_in_fp32 aux_loss_alpha bf16 bias_dropout_fusion dropout embd_pdrop
    emb_pdrop ep_size fp16 fp32 gradient_checkpointing hidden_dropout init_method_std init_std
    initializer_factor initializer_range layer_init_std layerdrop masked_softmax_fusion
    moe_jitter_eps moe_loss_weight output_router_logits pretraining_tp
    reorder_and_upcast_attn rescale_prenorm_residual residual_in_fp32 router_jitter_noise
    input_jitter_noise fused_add_norm scale_attention_softmax_in_fp32 scale_attn_by_inverse_layer_idx
    scale_attn_weights seq_aux skip_bias_add skip_bias_add_qkv slow_but_exact softmax_in_fp32
    summary_activation summary_first_dropout summary_proj_to_labels summary_type summary_use_proj
    time_step_floor time_step_init_scheme time_step_limit time_step_max time_step_min
    time_step_scale fp32_residual_connection use_associative_scan use_flash_attn use_mamba_kernels
    use_mambapy z_loss_weight
"""

#: Defaults of text generation, and settings of the runtime.
_GENERATION = """
    bad_words_ids begin_suppress_tokens cache_implementation chunk_size chunk_size_feed_forward
    diversity_penalty do_sample early_stopping encoder_no_repeat_ngram_size
    exponential_decay_length_penalty forced_bos_token_id forced_eos_token_id
    is_decoder length_penalty max_length min_length no_repeat_ngram_size num_beam_groups num_beams
    num_logits_to_keep num_return_sequences output_attentions output_hidden_states output_scores
    prefix remove_invalid_values repetition_penalty return_dict_in_generate suppress_tokens
    temperature top_k top_p typical_p use_cache use_cache_kernel use_cache_quantization
    quantization_bit pre_seq_len prefix_projection mamba_ssm_cache_dtype mamba_ssm_dtype
"""

#: Positions without weights; numbers inside norms, activations and routing.
_SCALARS = """
    activation activation_function attention_multiplier attention_value_scale
    attn_logit_softcapping attn_scale attn_temperature_tuning clip_qkv embedding_multiplier
    epsilon final_logit_softcapping floor_scale hidden_act hidden_activation
    indexer_rope_interleave initial_context_length logit_scale logits_scaling
    mamba_hidden_act mlp_hidden_act moe_router_activation_func n_group norm_topk_prob offset_alibi
    original_max_position_embeddings partial_rotary_factor partial_rotary_factors
    query_pre_attn_scalar residual_multiplier routed_scaling_factor scale_fmt
    scoring_func swa_rope_theta swiglu_limit topk_group topk_method use_dynamic_ntk use_logn_attn
"""

#: Draft heads and towers: a model here is the text part that makes one token per step.
_OTHER_PARTS = """
    audio_config downsample_ratio ignore_index for_llm_compressor mm_tokens_per_image num_mtp_modules
    num_nextn_predict_layers spatial_merge_size use_mtp
    use_unified_vision_chunk    vision_config multimodal_projector_bias projector_hidden_act
"""

_NAMES = frozenset(" ".join((_BOOKKEEPING, _TRAINING, _GENERATION, _SCALARS, _OTHER_PARTS)).split())
_BEGINNINGS = ("dspark_", "image_", "mtp_", "rope_", "rotary_", "video_", "vision_")
_ENDINGS = (
    "_alpha_factor",
    "_attention_alpha",
    "_attention_beta",
    "_beta_factor",
    "_coef",
    "_dropout",
    "_dropout_prob",
    "_eps",
    "_epsilon",
    "_mlp_alpha",
    "_mlp_beta",
    "_pdrop",
    "_token_id",
    "_token_ids",
    "_token_index",
)


def costless(name: str) -> bool:
    """Tell whether a field changes no cost in any family."""
    return name in _NAMES or name.startswith(_BEGINNINGS) or name.endswith(_ENDINGS)
