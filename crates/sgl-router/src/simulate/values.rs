//! Values of flags with a range.

pub(super) fn number(
    text: &str,
    is_valid: impl Fn(f64) -> bool,
    expected: &'static str,
) -> Result<f64, &'static str> {
    text.parse().ok().filter(|x: &f64| x.is_finite() && is_valid(*x)).ok_or(expected)
}

pub(super) fn above_zero(text: &str) -> Result<f64, &'static str> {
    number(text, |x| x > 0.0, "expected a number above 0")
}

pub(super) fn interval(text: &str) -> Result<f64, &'static str> {
    number(text, |x| (1e-3..=1e6).contains(&x), "expected seconds from 0.001 to 1e6")
}

pub(super) fn pause(text: &str) -> Result<f64, &'static str> {
    number(text, |x| (0.0..=1e6).contains(&x), "expected seconds from 0 to 1e6")
}

pub(super) fn share(text: &str) -> Result<f64, &'static str> {
    number(text, |x| (0.0..=1.0).contains(&x), "expected a share from 0 to 1")
}

pub(super) fn part(text: &str) -> Result<f64, &'static str> {
    number(text, |x| x > 0.0 && x < 1.0, "expected a share above 0 and below 1")
}

pub(super) fn slice(text: &str) -> Result<std::ops::Range<usize>, &'static str> {
    const EXPECTED: &str = "expected FROM..TO, FROM.. or ..TO, with whole numbers";
    let (from, to) = text.split_once("..").ok_or(EXPECTED)?;
    let edge = |text: &str, open: usize| match text.trim() {
        "" => Ok(open),
        text => text.parse().map_err(|_| EXPECTED),
    };
    let (from, to) = (edge(from, 0)?, edge(to, usize::MAX)?);
    if from < to { Ok(from..to) } else { Err("expected a range that is not empty") }
}
