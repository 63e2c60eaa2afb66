//! The name that was probably meant.

/// The known name that is most similar to `name`, for a "did you mean"; `None` when none is similar enough.
///
/// ```
/// use router_core::similar_name;
///
/// assert_eq!(similar_name("wieght", ["url", "weight"]), Some("weight"));
/// assert_eq!(similar_name("colour", ["url", "weight"]), None);
/// ```
pub fn similar_name<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let distances = known.into_iter().map(|known| (strsim::levenshtein(name, known), known));
    // A third of the letters may be wrong; beyond that a suggestion only confuses.
    distances.min().filter(|(distance, known)| *distance <= known.len().max(3) / 3).map(|(_, known)| known)
}
