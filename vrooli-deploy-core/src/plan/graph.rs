//! Orders what depends on each other. Views of the moment: nothing here is stored.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Puts nodes in an order in which each comes after those it waits for; among those that
/// may come next the lowest index comes first, so equal input gives equal output.
///
/// # Errors
/// The indices along a cycle, its first node repeated at its end.
pub(crate) fn order(after: &[Vec<usize>]) -> Result<Vec<usize>, Vec<usize>> {
    let mut waits: Vec<usize> = after.iter().map(Vec::len).collect();
    let mut followers: Vec<Vec<usize>> = vec![Vec::new(); after.len()];
    for (node, before) in after.iter().enumerate() {
        for &earlier in before {
            followers[earlier].push(node);
        }
    }
    let mut ready: BinaryHeap<Reverse<usize>> =
        waits.iter().enumerate().filter(|(_, n)| **n == 0).map(|(node, _)| Reverse(node)).collect();
    let mut ordered = Vec::with_capacity(after.len());
    while let Some(Reverse(node)) = ready.pop() {
        ordered.push(node);
        for &follower in &followers[node] {
            waits[follower] -= 1;
            if waits[follower] == 0 {
                ready.push(Reverse(follower));
            }
        }
    }
    if ordered.len() == after.len() { Ok(ordered) } else { Err(cycle(after, &waits)) }
}

/// Every node that still waits has an earlier one that still waits: following them ends in a circle.
fn cycle(after: &[Vec<usize>], waits: &[usize]) -> Vec<usize> {
    let mut path: Vec<usize> = Vec::new();
    let mut at = waits.iter().position(|n| *n > 0);
    while let Some(node) = at {
        if let Some(start) = path.iter().position(|seen| *seen == node) {
            path.drain(..start);
            path.push(node);
            return path;
        }
        path.push(node);
        at = after[node].iter().copied().find(|earlier| waits[*earlier] > 0);
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_waited_for_comes_first_and_ties_keep_their_order() {
        assert_eq!(order(&[vec![2], vec![], vec![]]).unwrap(), [1, 2, 0]);
    }

    #[test]
    fn a_cycle_is_named_without_what_leads_to_it() {
        // 0 waits for the circle 1 → 2 → 3 → 1 and is no part of it.
        let cycle = order(&[vec![1], vec![2], vec![3], vec![1]]).unwrap_err();
        assert_eq!(cycle, [1, 2, 3, 1]);
    }
}
