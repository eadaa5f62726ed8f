//! The ops, one folder each: contract (`mod`), an oracle to be read (`reference`), cases, and a kernel for each kind
//! of device.
//!
//! An op is a struct of its arguments; [`Ops::record`](crate::Ops::record) checks and records it. Rows are the fastest
//! axis. Kernels on the CPU rely on two rules of `tiles::cpu::arguments`: A2, what is declared as read nobody writes
//! while the launch runs; A3, a worker takes for writing only what its own groups own.
//!
//! To add an op: copy the smallest folder, `scale`, and give the op its line in `registry`.

pub mod activate;
pub mod add;
pub mod angles;
pub mod append;
pub mod argmax;
pub mod attention;
pub mod causal_conv;
pub mod copy;
pub mod embed;
pub mod enter;
pub mod follow;
pub mod gate;
pub mod gated_delta;
pub mod gated_norm;
pub mod l2_norm;
pub mod layer_norm;
pub mod matmul;
pub mod mix;
pub mod mul;
pub mod project;
pub mod recall;
pub mod rms_norm;
pub mod rope;
pub mod round;
pub mod routed_matmul;
pub mod router;
pub mod sample;
pub mod scale;
pub mod softcap;
pub mod softmax;
pub mod sort;
pub mod top_k;

pub use self::{
    activate::Activate,
    add::Add,
    angles::Angles,
    append::Append,
    argmax::Argmax,
    attention::Attention,
    causal_conv::CausalConv,
    copy::Copy,
    embed::Embed,
    enter::Enter,
    follow::Follow,
    gate::Gate,
    gated_delta::GatedDelta,
    gated_norm::GatedNorm,
    l2_norm::L2Norm,
    layer_norm::LayerNorm,
    matmul::Matmul,
    mix::Mix,
    mul::Mul,
    project::Project,
    recall::Recall,
    rms_norm::RmsNorm,
    rope::Rope,
    round::Round,
    routed_matmul::RoutedMatmul,
    router::Router,
    sample::{Draw, Random, Sample},
    scale::Scale,
    softcap::Softcap,
    softmax::Softmax,
    sort::Sort,
    top_k::TopK,
};
