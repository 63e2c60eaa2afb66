//! Exponentially forgetting least squares: a few constants, drawn towards a prior and kept in bounds.

/// Decayed normal equations of the relative error.
#[derive(Clone, Debug)]
pub(crate) struct LeastSquares<const N: usize> {
    normal: [[f64; N]; N],
    right: [f64; N],
}

impl<const N: usize> Default for LeastSquares<N> {
    fn default() -> Self {
        Self { normal: [[0.0; N]; N], right: [0.0; N] }
    }
}

/// What determines the constants where the data does not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Regularization<'a, const N: usize> {
    /// Weight of the prior, in rows whose whole time would be one constant's.
    pub(crate) ridge: f64,
    /// What the constants are drawn to.
    pub(crate) prior: &'a [f64; N],
    /// What they never leave.
    pub(crate) bounds: &'a [(f64, f64); N],
}

impl<const N: usize> LeastSquares<N> {
    /// Keeps `share` of what is known.
    pub(crate) fn fade(&mut self, share: f64) {
        self.normal.as_flattened_mut().iter_mut().chain(&mut self.right).for_each(|x| *x *= share);
    }

    /// Adds one row that should add up to 1.
    pub(crate) fn add(&mut self, x: &[f64; N], weight: f64) {
        for i in 0..N {
            for j in 0..N {
                self.normal[i][j] += weight * x[i] * x[j];
            }
            self.right[i] += weight * x[i];
        }
    }

    /// Converts all rows to a unit `factor` times as large.
    pub(crate) fn rescale(&mut self, factor: f64) {
        self.normal.as_flattened_mut().iter_mut().for_each(|a| *a *= factor * factor);
        self.right.iter_mut().for_each(|b| *b *= factor);
    }

    /// The constants. One that leaves its bounds is put there, and the others are solved again.
    pub(crate) fn solve(&self, hold: Regularization<'_, N>) -> [f64; N] {
        let mut solution = [0.0; N];
        let mut is_free = [true; N];
        // Each round fixes one at least, or is the last.
        for _ in 0..N {
            let found = self.eliminate(hold, &solution, is_free);
            let mut is_within = true;
            for (i, (low, high)) in hold.bounds.iter().enumerate() {
                if is_free[i] {
                    solution[i] = found[i].clamp(*low, *high);
                    is_free[i] = solution[i] == found[i];
                    is_within &= is_free[i];
                }
            }
            if is_within {
                break;
            }
        }
        solution
    }

    /// Gaussian elimination. The matrix is positive definite, so no pivoting is needed, and its diagonal stays above the
    /// ridge except for rounding.
    fn eliminate(&self, hold: Regularization<'_, N>, fixed: &[f64; N], is_free: [bool; N]) -> [f64; N] {
        let (mut a, mut b) = (self.normal, self.right);
        for i in 0..N {
            a[i][i] += hold.ridge;
            b[i] += hold.ridge * hold.prior[i];
        }
        for i in (0..N).filter(|i| !is_free[*i]) {
            for j in 0..N {
                b[j] -= a[j][i] * fixed[i];
                (a[i][j], a[j][i]) = (0.0, 0.0);
            }
            (a[i][i], b[i]) = (1.0, fixed[i]);
        }
        for i in 0..N {
            a[i][i] = a[i][i].max(hold.ridge);
            let (pivot, value) = (a[i], b[i]);
            for j in i + 1..N {
                let factor = a[j][i] / pivot[i];
                (i..N).for_each(|k| a[j][k] -= factor * pivot[k]);
                b[j] -= factor * value;
            }
        }
        for i in (0..N).rev() {
            let known: f64 = (i + 1..N).map(|j| a[i][j] * b[j]).sum();
            b[i] = (b[i] - known) / a[i][i];
        }
        b
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;

    const N: usize = 6;
    type Coefficients = [f64; N];
    const WIDE: [(f64, f64); N] = [(0.0, 100.0); N];

    #[test]
    fn undetermined_constants_keep_the_prior() {
        let truth = [1.0, 0.5, 2.0, 3.0, 0.25, 7.0];
        let mut rng = Rng::seeded(1);
        let mut fit = LeastSquares::<N>::default();
        for _ in 0..100 {
            // No row depends on the last constant.
            let row: Coefficients = std::array::from_fn(|i| if i < 5 { rng.below(100) as f64 } else { 0.0 });
            let sum: f64 = row.iter().zip(truth).map(|(x, c)| x * c).sum();
            fit.add(&row.map(|x| x / sum), 1.0);
        }
        let found = fit.solve(Regularization { ridge: 1e-9, prior: &[4.0; N], bounds: &WIDE });
        for (i, (found, truth)) in found.into_iter().zip([1.0, 0.5, 2.0, 3.0, 0.25, 4.0]).enumerate() {
            assert!((found - truth).abs() < 1e-3, "{i}: {found}");
        }
    }

    #[test]
    fn others_compensate_for_a_bounded_constant() {
        let mut fit = LeastSquares::<N>::default();
        // Without bounds the constants are -1 and 3.
        for x in [0.2, 0.5, 0.8] {
            let mut row = [0.0; N];
            (row[0], row[1]) = (x, (1.0 + x) / 3.0);
            fit.add(&row, 1.0);
        }
        let found = fit.solve(Regularization { ridge: 1e-9, prior: &[0.0; N], bounds: &WIDE });
        assert_eq!(found[0], 0.0);
        assert!((1.9..2.1).contains(&found[1]), "{found:?}");
    }
}
