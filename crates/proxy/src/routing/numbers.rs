//! Which of many number patterns comes first: one step for each digit, however many there are.

use smallvec::SmallVec;

use crate::settings::NumberPattern;

/// Patterns by their digits (a trie). Each has a rank; of those that match, the lowest wins.
#[derive(Clone, Debug)]
pub struct Numbers {
    /// The first is the root.
    nodes: Vec<Node>,
}

#[derive(Clone, Debug, Default)]
struct Node {
    /// The lowest rank of a pattern that ends here and matches whatever follows.
    prefix: Option<u32>,
    /// The lowest rank of a pattern that ends here and matches nothing longer.
    exact: Option<u32>,
    /// The nodes behind the next digits.
    next: SmallVec<[(u8, u32); 2]>,
}

impl Default for Numbers {
    fn default() -> Self {
        Numbers {
            nodes: vec![Node::default()],
        }
    }
}

impl Numbers {
    /// Adds a pattern.
    pub fn insert(&mut self, pattern: &NumberPattern, rank: u32) {
        let mut at = 0;
        for digit in pattern.text.bytes() {
            let known = self.nodes[at].next.iter().find(|(it, _)| *it == digit);
            at = match known {
                Some((_, node)) => *node as usize,
                None => {
                    let node = self.nodes.len();
                    self.nodes.push(Node::default());
                    self.nodes[at].next.push((digit, node as u32));
                    node
                }
            };
        }
        let node = &mut self.nodes[at];
        let slot = if pattern.prefix {
            &mut node.prefix
        } else {
            &mut node.exact
        };
        *slot = lower(*slot, Some(rank));
    }

    /// The lowest rank of the patterns that match.
    pub fn find(&self, number: &[u8]) -> Option<u32> {
        let mut node = &self.nodes[0];
        let mut found = node.prefix;
        for digit in number {
            let Some((_, next)) = node.next.iter().find(|(it, _)| it == digit) else {
                return found;
            };
            node = &self.nodes[*next as usize];
            found = lower(found, node.prefix);
        }
        lower(found, node.exact)
    }
}

/// The lower of two, where there are two.
fn lower(a: Option<u32>, b: Option<u32>) -> Option<u32> {
    a.into_iter().chain(b).min()
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn patterns(texts: &[String]) -> Vec<NumberPattern> {
        let read = |text: &String| NumberPattern::parse(text).unwrap();
        texts.iter().map(read).collect()
    }

    proptest! {
        #[test]
        fn the_first_pattern_that_matches_is_found_as_by_looking_at_all(
            texts in vec("\\+?[12]{0,4}\\*?", 0..12),
            number in "\\+?[12]{0,6}",
        ) {
            let patterns = patterns(&texts);
            let mut numbers = Numbers::default();
            for (rank, pattern) in patterns.iter().enumerate() {
                numbers.insert(pattern, rank as u32);
            }
            let wanted = patterns.iter().position(|it| it.matches(number.as_bytes()));
            prop_assert_eq!(numbers.find(number.as_bytes()), wanted.map(|at| at as u32));
        }
    }
}
