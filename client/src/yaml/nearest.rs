//! The word that somebody may have meant.

/// Longest word that is compared, in bytes.
const MAX_BYTES: usize = 64;

/// Maximum length of a unit at the end of a key, in bytes, such as `_gb` or `_percent`.
const MAX_UNIT_BYTES: usize = 8;

/// Returns the candidate with the fewest changes of letters from the word; `None` where all differ in more
/// than a third of it. A unit that was left out, as in `min_vram` for `min_vram_gb`, is one change.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > MAX_BYTES {
        return None;
    }
    let plain = |text: &str| text.to_lowercase().replace('-', "_");
    let word = plain(word);
    let limit = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (changes(&word, &plain(candidate)), candidate))
        .filter(|(changes, _)| *changes <= limit)
        .min_by_key(|(changes, _)| *changes)
        .map(|(_, candidate)| candidate)
}

/// Number of changes that make the candidate of a word.
fn changes(word: &str, candidate: &str) -> usize {
    let lacks_unit = candidate
        .strip_prefix(word)
        .is_some_and(|unit| !word.is_empty() && unit.starts_with('_') && unit.len() <= MAX_UNIT_BYTES);
    if lacks_unit { 1 } else { distance(word, candidate) }
}

/// Number of letters to insert, remove, replace or swap with their neighbour to make one word of the other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    let mut last = None;
    for (index, letter) in one.chars().enumerate() {
        let mut next = vec![index + 1];
        for (place, candidate) in other.iter().enumerate() {
            let at = |row: &[usize], place: usize| row.get(place).copied().unwrap_or(usize::MAX / 2);
            let replaced = at(&row, place) + usize::from(letter != *candidate);
            let mut least = replaced.min(at(&row, place + 1) + 1).min(at(&next, place) + 1);
            let is_swapped = place > 0 && last == Some(*candidate) && other.get(place - 1) == Some(&letter);
            if is_swapped {
                least = least.min(at(&before, place - 1) + 1);
            }
            next.push(least);
        }
        last = Some(letter);
        before = std::mem::replace(&mut row, next);
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_changes_of_letters() {
        for (one, other, changes) in [
            ("", "", 0),
            ("abc", "", 3),
            ("region", "regoin", 1),
            ("image", "immage", 1),
            ("slots", "nodes", 4),
        ] {
            assert_eq!(distance(one, other), changes, "{one} {other}");
        }
    }

    #[test]
    fn nearest_is_a_near_miss_and_nothing_else() {
        let keys = ["image", "min_vram_gib", "nodes"];
        for (word, found) in [
            ("imgae", Some("image")),
            ("Image", Some("image")),
            ("min-vram-gb", Some("min_vram_gib")),
            ("min_vram", Some("min_vram_gib")),
            ("node", Some("nodes")),
            ("volume", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, keys), found, "{word}");
        }
        assert_eq!(nearest(&"x".repeat(1 << 20), keys), None);
    }
}
