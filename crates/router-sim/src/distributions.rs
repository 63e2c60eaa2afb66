//! Random samples of common distributions.

use router_core::Rng;

/// A number in `(0, 1]`, so that its logarithm is finite.
fn positive_unit(rng: &mut Rng) -> f64 {
    1.0 - rng.unit_f64()
}

/// A sample of the exponential distribution with mean 1.
pub(crate) fn exponential(rng: &mut Rng) -> f64 {
    -positive_unit(rng).ln()
}

/// A sample of the normal distribution with mean 0 and standard deviation 1 (Box and Muller, 1958; one of the pair).
pub(crate) fn normal(rng: &mut Rng) -> f64 {
    (-2.0 * positive_unit(rng).ln()).sqrt() * (std::f64::consts::TAU * rng.unit_f64()).cos()
}

/// A sample of the gamma distribution with this shape and mean 1 (Marsaglia and Tsang, "A simple method for generating
/// gamma variables", 2000).
pub(crate) fn gamma(shape: f64, rng: &mut Rng) -> f64 {
    // The method needs a shape of at least 1. A gamma sample of shape + 1 times a power of a uniform sample has the
    // lower shape.
    let (boosted, boost) =
        if shape < 1.0 { (shape + 1.0, positive_unit(rng).powf(1.0 / shape)) } else { (shape, 1.0) };
    let d = boosted - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = normal(rng);
        let v = (1.0 + c * x).powi(3);
        if v > 0.0 && positive_unit(rng).ln() < 0.5 * x * x + d - d * v + d * v.ln() {
            return d * v * boost / shape;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(mut draw: impl FnMut(&mut Rng) -> f64) -> (f64, f64) {
        let mut rng = Rng::seeded(4);
        let drawn: Vec<f64> = (0..40_000).map(|_| draw(&mut rng)).collect();
        let mean = drawn.iter().sum::<f64>() / drawn.len() as f64;
        (mean, drawn.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / drawn.len() as f64)
    }

    #[test]
    fn means_and_variances_match() {
        let near = |(mean, variance): (f64, f64), (m, v): (f64, f64)| {
            assert!((mean - m).abs() < 0.05 && (variance - v).abs() < 0.05 * v.max(1.0), "{mean} {variance}");
        };
        near(moments(exponential), (1.0, 1.0));
        near(moments(normal), (0.0, 1.0));
        for shape in [0.5, 1.0, 4.0] {
            near(moments(|rng| gamma(shape, rng)), (1.0, 1.0 / shape));
        }
    }
}
