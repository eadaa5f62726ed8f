//! What `activate` means.

use super::Curve;

pub(crate) fn curve(curve: Curve, x: f64) -> f64 {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    match curve {
        _ if x == f64::NEG_INFINITY => 0.0,
        Curve::Silu => x * sigmoid(x),
        Curve::GeluTanh => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
            x * sigmoid(2.0 * inner) // 0.5 * (1 + tanh(u)) = sigmoid(2 u)
        }
        Curve::GeluErf => x * 0.5 * (1.0 + erf(x / std::f64::consts::SQRT_2)),
        Curve::Sigmoid => sigmoid(x),
        Curve::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
    }
}

/// The error function, by a series whose terms are all positive.
fn erf(x: f64) -> f64 {
    if x.abs() > 6.0 {
        return x.signum();
    }
    let (mut term, mut sum, mut n) = (x, x, 1.0);
    while f64::abs(term) > 1e-18 * f64::abs(sum) {
        term *= 2.0 * x * x / (2.0 * n + 1.0);
        sum += term;
        n += 1.0;
    }
    sum * (-x * x).exp() * 2.0 / std::f64::consts::PI.sqrt()
}
