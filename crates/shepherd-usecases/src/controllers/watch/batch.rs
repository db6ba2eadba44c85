//! What is to be projected together: the last that was seen of each object, in bounded number.

use std::collections::HashMap;

use shepherd_ports::vms::Sighting;

/// Most objects of one projection.
const MOST: usize = 256;

/// Sightings in the order their objects were first seen. A later sighting takes the place of an earlier one of the
/// same object; objects are told apart by their uid, so that a machine that took the place of another of the same
/// name does not hide that the other one is gone.
#[derive(Debug, Default)]
pub(super) struct Batch {
    sightings: Vec<Sighting>,
    places: HashMap<String, usize>,
}

impl Batch {
    pub(super) fn add(&mut self, sighting: Sighting) {
        match self
            .places
            .get(sighting.uid())
            .and_then(|place| self.sightings.get_mut(*place))
        {
            Some(earlier) => *earlier = following(earlier, sighting),
            None => {
                self.places.insert(sighting.uid().to_owned(), self.sightings.len());
                self.sightings.push(sighting);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sightings.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.sightings.len() >= MOST
    }

    /// Empties the batch.
    pub(super) fn take(&mut self) -> Vec<Sighting> {
        self.places.clear();
        std::mem::take(&mut self.sightings)
    }
}

/// What takes the place of an earlier sighting: a list counts even if the machine has changed since.
fn following(earlier: &Sighting, later: Sighting) -> Sighting {
    match (earlier, later) {
        (Sighting::Listed(_), Sighting::Present(vm)) => Sighting::Listed(vm),
        (_, later) => later,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gone(uid: &str, name: &str) -> Sighting {
        Sighting::Gone {
            namespace: "shop".to_owned(),
            name: name.to_owned(),
            uid: uid.to_owned(),
        }
    }

    #[test]
    fn the_last_sighting_of_each_object_counts() {
        let mut batch = Batch::default();
        batch.add(gone("u1", "first"));
        batch.add(gone("u2", "same-name"));
        batch.add(gone("u1", "last"));
        batch.add(gone("u3", "same-name"));
        let expected = [gone("u1", "last"), gone("u2", "same-name"), gone("u3", "same-name")];
        assert_eq!(batch.take(), expected);
        assert!(batch.is_empty());
        batch.add(gone("u1", "anew"));
        assert_eq!(batch.take(), [gone("u1", "anew")]);
    }

    #[test]
    fn a_batch_is_bounded() {
        let mut batch = Batch::default();
        for number in 0..MOST {
            assert!(!batch.is_full());
            batch.add(gone(&number.to_string(), "web"));
        }
        assert!(batch.is_full());
    }
}
