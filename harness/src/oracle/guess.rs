//! Guesses: which subscriber of a shared sink a call is for.

/// The guesses of one walk, in the order in which they were needed: what was guessed, of how many.
///
/// A walk follows what it is given and guesses the first alternative from there on, so that
/// [`Guesses::next`] visits every combination once, the latest guess changing fastest.
#[derive(Debug, Clone, Default)]
pub(crate) struct Guesses {
    made: Vec<(usize, usize)>,
    used: usize,
}

impl Guesses {
    /// Picks one of so many alternatives.
    pub(crate) fn pick(&mut self, of: usize) -> usize {
        if of < 2 {
            return 0;
        }
        if self.used == self.made.len() {
            self.made.push((0, of));
        }
        self.used += 1;
        self.made[self.used - 1].0
    }

    /// The guesses for the next walk; none if all were tried.
    pub(crate) fn next(mut self) -> Option<Self> {
        while let Some((guess, of)) = self.made.pop() {
            if guess + 1 < of {
                self.made.push((guess + 1, of));
                self.used = 0;
                return Some(self);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::Guesses;

    #[test]
    fn every_combination_is_visited_once() {
        let mut seen = Vec::new();
        let mut guesses = Some(Guesses::default());
        while let Some(mut now) = guesses {
            let first = now.pick(2);
            // What is to be guessed may depend on what was.
            let second = if first == 0 { now.pick(3) } else { now.pick(1) };
            seen.push((first, second));
            guesses = now.next();
        }
        assert_eq!(seen, [(0, 0), (0, 1), (0, 2), (1, 0)]);
    }
}
