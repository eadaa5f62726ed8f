//! The one place where the names of a checkpoint become the names of the scheme that models ask for, which is GGUF's.
//!
//! Names say more than who is who: a checkpoint may hold a matrix for each expert where the models here want one of all, or
//! one matrix for what they want as two. It knows names, never a byte. Next room: `checkpoint`, which moves rows.

/// Where a tensor of a checkpoint belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Belongs {
    /// It is this one.
    Whole(String),
    /// It is that of one expert, by number.
    Expert(String, u64),
    /// It is two: of the rows of each expert, the first half and the second.
    Halves([String; 2]),
    /// It is two: of the rows of each expert, every other one.
    Turns([String; 2]),
    /// It is two: of the rows of each head of keys, those for queries, keys and values, and those for the gate.
    Heads([String; 2]),
    /// To a part that is no language model.
    Part(&'static str),
    /// To nothing that has to be computed.
    Nothing,
    /// Nobody knows.
    Unknown,
}

/// Modules of a layer, whose tensors end in `.weight` or `.bias`.
const MODULES: &[(&str, &str)] = &[
    ("input_layernorm", "attn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.qkv_proj", "attn_qkv"),
    ("self_attn.o_proj", "attn_output"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("linear_attn.in_proj_qkv", "attn_qkv"),
    ("linear_attn.in_proj_z", "attn_gate"),
    ("linear_attn.in_proj_a", "ssm_alpha"),
    ("linear_attn.in_proj_b", "ssm_beta"),
    ("linear_attn.in_proj_ba", "ssm_ba"),
    ("linear_attn.conv1d", "ssm_conv1d"),
    ("linear_attn.norm", "ssm_norm"),
    ("linear_attn.out_proj", "ssm_out"),
    ("pre_feedforward_layernorm", "ffn_norm"),
    ("post_feedforward_layernorm", "post_ffw_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.gate_up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
    ("mlp.gate", "ffn_gate_inp"),
    ("mlp.router", "ffn_gate_inp"),
    ("mlp.switch_mlp.gate_proj", "ffn_gate_exps"),
    ("mlp.switch_mlp.up_proj", "ffn_up_exps"),
    ("mlp.switch_mlp.down_proj", "ffn_down_exps"),
    ("mlp.experts.gate_proj", "ffn_gate_exps"),
    ("mlp.experts.up_proj", "ffn_up_exps"),
    ("mlp.experts.down_proj", "ffn_down_exps"),
    ("mlp.shared_expert.gate_proj", "ffn_gate_shexp"),
    ("mlp.shared_expert.up_proj", "ffn_up_shexp"),
    ("mlp.shared_expert.down_proj", "ffn_down_shexp"),
    ("mlp.shared_expert_gate", "ffn_gate_inp_shexp"),
];

/// Tensors of a layer that are no module's weight or bias.
const TENSORS: &[(&str, &str)] = &[
    ("self_attn.sinks", "attn_sinks.weight"),
    ("linear_attn.A_log", "ssm_a"),
    ("linear_attn.dt_bias", "ssm_dt.bias"),
    ("mlp.experts.down_proj", "ffn_down_exps.weight"),
    ("mlp.experts.down_proj_bias", "ffn_down_exps.bias"),
];

/// Modules outside of layers.
const OUTSIDE: &[(&str, &str)] =
    &[("embed_tokens", "token_embd"), ("norm", "output_norm"), ("lm_head", "output")];

/// Queries, keys, values and gates of a delta network in one matrix.
const HEADS: &str = "linear_attn.in_proj_qkvz.weight";

/// What the language model may lie in.
const AROUND: [&str; 2] = ["model.", "language_model."];

/// Parts beside the language model.
const PARTS: [&str; 8] = [
    "visual",
    "vision_tower",
    "vision_model",
    "vision_embed_tokens",
    "multi_modal_projector",
    "audio_tower",
    "embed_audio",
    "embed_vision",
];

/// How a family's checkpoints name what others name otherwise.
#[derive(Clone, Copy, Debug)]
pub(super) struct Naming {
    /// Whether the norm after attention is that before the network, which most checkpoints call so.
    pub(super) after_is_before: bool,
    /// Whether rows of gates and of what they let through take turns.
    pub(super) turns: bool,
    /// Whether queries, keys and values are one matrix, and gates and what they let through another.
    pub(super) joined: bool,
    /// Whether the embedding is the output as well, whatever else the checkpoint holds.
    pub(super) tied: bool,
}

impl Naming {
    /// Where a tensor belongs.
    pub(super) fn of(&self, name: &str) -> Belongs {
        let mut inner = name;
        while let Some(rest) = AROUND.iter().find_map(|around| inner.strip_prefix(around)) {
            inner = rest;
        }
        let first = inner.split('.').next().unwrap_or_default();
        if let Some(part) = PARTS.iter().find(|part| **part == first) {
            return Belongs::Part(part);
        }
        // Layers that guess the token after the next, and tables that are computed anyway.
        if first == "mtp" || inner.ends_with("rotary_emb.inv_freq") {
            return Belongs::Nothing;
        }
        if self.tied && first == "lm_head" {
            return Belongs::Nothing;
        }
        let layer = inner.strip_prefix("layers.").and_then(|rest| rest.split_once('.'));
        match layer {
            Some((layer, rest)) if is_number(layer) => self.in_layer(layer, rest),
            _ => match module(OUTSIDE, inner) {
                Some(name) => Belongs::Whole(name),
                None => Belongs::Unknown,
            },
        }
    }

    fn in_layer(&self, layer: &str, name: &str) -> Belongs {
        let full = |name: &str| format!("blk.{layer}.{name}");
        if let Some(ending) = name.strip_prefix("post_attention_layernorm") {
            let norm = if self.after_is_before { "ffn_norm" } else { "post_attention_norm" };
            return Belongs::Whole(full(&format!("{norm}{ending}")));
        }
        let pair = |ending: &str| ["gate", "up"].map(|half| full(&format!("ffn_{half}_exps.{ending}")));
        match name {
            HEADS => return Belongs::Heads(["attn_qkv.weight", "attn_gate.weight"].map(full)),
            "mlp.experts.gate_up_proj" if self.turns => return Belongs::Turns(pair("weight")),
            "mlp.experts.gate_up_proj_bias" if self.turns => return Belongs::Turns(pair("bias")),
            "mlp.experts.gate_up_proj" => return Belongs::Halves(pair("weight")),
            _ => {}
        }
        if let Some((number, rest)) = name.strip_prefix("mlp.experts.").and_then(|rest| rest.split_once('.'))
            && let Ok(number) = number.parse()
        {
            return match module(MODULES, &format!("mlp.experts.{rest}")) {
                Some(name) => Belongs::Expert(full(&name), number),
                None => Belongs::Unknown,
            };
        }
        let tensor = TENSORS.iter().find(|(theirs, _)| *theirs == name).map(|(_, ours)| (*ours).to_owned());
        match tensor.or_else(|| module(MODULES, name)) {
            Some(name) => Belongs::Whole(full(&name)),
            None => Belongs::Unknown,
        }
    }

    /// What a folder of MLX calls a tensor of the scheme that a checkpoint calls `theirs`; `around` is what its names begin with.
    pub(super) fn by_mlx(&self, name: &str, theirs: &str, around: &str) -> String {
        let of_experts = || {
            let (layer, rest) = name.strip_prefix("blk.")?.split_once('.')?;
            let (module, ending) = rest.strip_prefix("ffn_")?.split_once("_exps.")?;
            let stack = if self.turns { "experts" } else { "switch_mlp" };
            Some(format!("{around}model.layers.{layer}.mlp.{stack}.{module}_proj.{ending}"))
        };
        let same = || {
            let mut inner = theirs;
            while let Some(rest) = AROUND.iter().find_map(|around| inner.strip_prefix(around)) {
                inner = rest;
            }
            let model = if inner.starts_with("lm_head.") { "" } else { "model." };
            format!("{around}{model}{inner}")
        };
        of_experts().unwrap_or_else(same)
    }

    /// What checkpoints call a tensor of the scheme; the name itself where that is not known.
    pub(super) fn original(&self, name: &str) -> String {
        self.find(name).unwrap_or_else(|| name.to_owned())
    }

    /// What checkpoints call a tensor of the scheme, if they have it.
    pub(super) fn find(&self, name: &str) -> Option<String> {
        let theirs = |table: &[(&str, &str)], name: &str| {
            let (ours, ending) = name.rsplit_once('.')?;
            let (theirs, _) = table.iter().find(|(theirs, own)| *own == ours && self.calls(theirs))?;
            Some(format!("{theirs}.{ending}"))
        };
        match name.strip_prefix("blk.").and_then(|rest| rest.split_once('.')) {
            Some((layer, rest)) => {
                let tensor =
                    TENSORS.iter().find(|(_, ours)| *ours == rest).map(|(theirs, _)| (*theirs).to_owned());
                let norm = match (self.after_is_before, rest) {
                    (true, "ffn_norm.weight") | (false, "post_attention_norm.weight") => {
                        Some("post_attention_layernorm.weight".to_owned())
                    }
                    _ => None,
                };
                let found = norm.or(tensor).or_else(|| theirs(MODULES, rest));
                found.map(|found| format!("model.layers.{layer}.{found}"))
            }
            None if name.starts_with("output.") => theirs(OUTSIDE, name),
            None => theirs(OUTSIDE, name).map(|found| format!("model.{found}")),
        }
    }

    /// What checkpoints call the tensor that holds both of these of a layer, where they have one.
    pub(super) fn heads(&self, layer: &str) -> String {
        format!("model.layers.{layer}.{HEADS}")
    }

    /// Whether the family calls a module so, of those that differ between families.
    fn calls(&self, theirs: &str) -> bool {
        match theirs {
            "self_attn.qkv_proj" | "mlp.gate_up_proj" => self.joined,
            "linear_attn.in_proj_qkv" | "mlp.up_proj" => !self.joined,
            "mlp.router" => self.turns,
            "mlp.gate" => !self.turns,
            _ => true,
        }
    }
}

/// The name of a module's tensor, if the module is in a table and the tensor is one that modules have.
fn module(table: &[(&str, &str)], name: &str) -> Option<String> {
    let (theirs, ending) =
        name.rsplit_once('.').filter(|(_, ending)| matches!(*ending, "weight" | "bias"))?;
    let (_, ours) = table.iter().find(|(own, _)| *own == theirs)?;
    Some(format!("{ours}.{ending}"))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Naming = Naming { after_is_before: true, turns: false, joined: false, tied: false };
    const GPT: Naming = Naming { after_is_before: false, turns: true, joined: false, tied: true };
    const PHI: Naming = Naming { joined: true, ..PLAIN };

    fn whole(name: &str) -> Belongs {
        Belongs::Whole(name.to_owned())
    }

    #[test]
    fn names_lie_in_whatever_a_checkpoint_puts_around_them() {
        for around in ["model.", "language_model.model.", "model.language_model.", "language_model.", ""] {
            let of = |name: &str| PLAIN.of(&format!("{around}{name}"));
            assert_eq!(of("layers.12.self_attn.q_proj.bias"), whole("blk.12.attn_q.bias"));
            assert_eq!(of("layers.0.mlp.gate.weight"), whole("blk.0.ffn_gate_inp.weight"));
            assert_eq!(of("embed_tokens.weight"), whole("token_embd.weight"));
            assert_eq!(of("lm_head.weight"), whole("output.weight"));
            assert_eq!(of("layers.0.self_attn.q_proj.scales"), Belongs::Unknown);
            assert_eq!(of("layers.x.self_attn.q_proj.weight"), Belongs::Unknown);
            assert_eq!(of("layers.0.self_attn.rotary_emb.inv_freq"), Belongs::Nothing);
            assert_eq!(of("visual.blocks.0.attn.qkv.weight"), Belongs::Part("visual"));
        }
        assert_eq!(PLAIN.of("mtp.layers.0.mlp.gate.weight"), Belongs::Nothing);
        assert_eq!(GPT.of("lm_head.weight"), Belongs::Nothing);
    }

    #[test]
    fn families_name_norms_and_experts_in_their_own_ways() {
        assert_eq!(
            PLAIN.of("model.layers.3.post_attention_layernorm.weight"),
            whole("blk.3.ffn_norm.weight")
        );
        let own = whole("blk.3.post_attention_norm.weight");
        assert_eq!(GPT.of("model.layers.3.post_attention_layernorm.weight"), own);
        let expert = PLAIN.of("model.layers.0.mlp.experts.7.down_proj.weight");
        assert_eq!(expert, Belongs::Expert("blk.0.ffn_down_exps.weight".to_owned(), 7));
        let pair = |ending: &str| ["gate", "up"].map(|half| format!("blk.0.ffn_{half}_exps.{ending}"));
        assert_eq!(GPT.of("model.layers.0.mlp.experts.gate_up_proj_bias"), Belongs::Turns(pair("bias")));
        assert_eq!(PLAIN.of("model.layers.0.mlp.experts.gate_up_proj"), Belongs::Halves(pair("weight")));
        assert_eq!(PLAIN.of("model.layers.0.linear_attn.A_log"), whole("blk.0.ssm_a"));
    }

    #[test]
    fn folders_of_mlx_have_names_of_their_own() {
        let plain = |name, theirs, around| PLAIN.by_mlx(name, theirs, around);
        let up = "blk.4.ffn_up_exps.weight";
        assert_eq!(
            plain(up, "model.layers.4.mlp.experts.0.up_proj.weight", ""),
            "model.layers.4.mlp.switch_mlp.up_proj.weight"
        );
        assert_eq!(
            GPT.by_mlx("blk.4.ffn_gate_exps.bias", "", ""),
            "model.layers.4.mlp.experts.gate_proj.bias"
        );
        let norm = plain("output_norm.weight", "model.language_model.norm.weight", "language_model.");
        assert_eq!(norm, "language_model.model.norm.weight");
        assert_eq!(
            plain("output.weight", "lm_head.weight", "language_model."),
            "language_model.lm_head.weight"
        );
        for name in [norm.as_str(), "model.layers.4.mlp.switch_mlp.up_proj.weight"] {
            assert!(matches!(PLAIN.of(name), Belongs::Whole(_)), "{name}");
        }
    }

    #[test]
    fn every_name_leads_back() {
        for naming in [PLAIN, GPT, PHI] {
            for name in [
                "attn_q.weight",
                "ffn_norm.weight",
                "ssm_a",
                "ssm_dt.bias",
                "attn_sinks.weight",
                "attn_qkv.weight",
                "ffn_up.weight",
                "ffn_gate_inp.bias",
                "ffn_gate_inp_shexp.weight",
            ] {
                let ours = format!("blk.5.{name}");
                let theirs = naming.original(&ours);
                assert!(theirs.starts_with("model.layers.5."), "{theirs}");
                assert_eq!(naming.of(&theirs), Belongs::Whole(ours));
            }
        }
        assert_eq!(PHI.original("blk.1.attn_qkv.weight"), "model.layers.1.self_attn.qkv_proj.weight");
        assert_eq!(PLAIN.original("blk.1.attn_qkv.weight"), "model.layers.1.linear_attn.in_proj_qkv.weight");
        assert_eq!(GPT.original("blk.1.ffn_gate_inp.bias"), "model.layers.1.mlp.router.bias");
        let both = PLAIN.of(&PLAIN.heads("3"));
        assert_eq!(both, Belongs::Heads(["blk.3.attn_qkv.weight", "blk.3.attn_gate.weight"].map(Into::into)));
        assert_eq!(PLAIN.find("blk.0.attn_rot_embd.weight"), None);
        assert_eq!(PLAIN.original("output.weight"), "lm_head.weight");
        assert_eq!(PLAIN.original("token_embd.weight"), "model.embed_tokens.weight");
        assert_eq!(PLAIN.original("rope_freqs.weight"), "rope_freqs.weight");
    }
}
