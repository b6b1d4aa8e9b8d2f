//! "Did you mean ...?"

/// The candidate that is most like `word`, if one is like it at all: at most a third of the longer
/// word differs, and something is the same.
pub(crate) fn nearest<'c>(
    word: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<&'c str> {
    let word = word.to_ascii_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (distance(&word, &candidate.to_ascii_lowercase()), candidate))
        .filter(|(distance, candidate)| {
            let longer = word.chars().count().max(candidate.chars().count());
            *distance <= (longer / 3).max(1) && *distance < longer
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// How many characters must be put in, taken out, replaced or swapped with their neighbour
/// (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    /// No key of ours is nearly as long; a longer word is like none, and costs nothing to refuse.
    const WORD_MAX: usize = 64;
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len() > WORD_MAX || b.len() > WORD_MAX {
        return usize::MAX;
    }
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let replaced = rows[i][j] + usize::from(x != y);
            let mut best = replaced.min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                best = best.min(rows[i - 1][j - 1] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_error_finds_its_word() {
        let words = [
            "response_timeout",
            "connect_timeout",
            "setup_budget",
            "cps",
            "name",
        ];
        for (typed, meant) in [
            ("reponse_timeout", Some("response_timeout")),
            ("setup_budgte", Some("setup_budget")),
            ("Name", Some("name")),
            ("cp", Some("cps")),
            ("conect-timeout", Some("connect_timeout")),
            ("colour", None),
            ("", None),
            ("b", None),
        ] {
            assert_eq!(nearest(typed, words), meant, "{typed}");
        }
    }
}
