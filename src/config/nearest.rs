//! Finds the name that a misspelled one means.

/// A name may have one slip per so many letters.
const LETTERS_PER_SLIP: usize = 3;
/// A longer name is not compared.
const NAME_BYTES_MAX: usize = 64;

/// The end of an error "there is no such …": the nearest known name, or all names if none is near.
pub(super) fn hint(name: &str, known: &[&str]) -> String {
    let comparable = known.iter().filter(|_| name.len() <= NAME_BYTES_MAX);
    let near = comparable.map(|known| (distance(name, known), *known)).min();
    match near {
        Some((slips, near)) if slips * LETTERS_PER_SLIP <= near.len().max(LETTERS_PER_SLIP) => {
            format!("; did you mean {near}?")
        }
        _ => format!(", only {}", known.join(", ")),
    }
}

/// The number of slips between two names: a letter inserted, left out, changed, or swapped with the next one.
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    // Row `i` has the distances of the first `i` letters of `from` to each beginning of `to`.
    let mut rows: Vec<Vec<usize>> = vec![(0..=to.len()).collect()];
    for i in 1..=from.len() {
        let mut row = vec![i];
        for j in 1..=to.len() {
            let changed = rows[i - 1][j - 1] + usize::from(from[i - 1] != to[j - 1]);
            let mut least = changed.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_found_and_another_word_is_not() {
        let known = ["max-message", "max-head", "url", "creds"];
        for (name, meant) in [
            ("max-mesage", "max-message"),
            ("max-messsage", "max-message"),
            ("max-haed", "max-head"),
            ("Max-head", "max-head"),
            ("cred", "creds"),
            ("ur", "url"),
        ] {
            assert_eq!(hint(name, &known), format!("; did you mean {meant}?"));
        }
        for name in ["", "certificate", "käse", "uu"] {
            assert_eq!(hint(name, &known), ", only max-message, max-head, url, creds", "{name}");
        }
    }

    #[test]
    fn the_distance_counts_each_kind_of_slip_once() {
        for (from, to, slips) in
            [("", "", 0), ("", "ab", 2), ("ab", "", 2), ("ab", "ba", 1), ("abc", "axc", 1), ("abc", "ac", 1)]
        {
            assert_eq!((distance(from, to), distance(to, from)), (slips, slips), "{from} {to}");
        }
    }
}
