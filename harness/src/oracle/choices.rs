//! Choices: which subscriber of a shared sink a call is for.

/// The choices of one walk, in the order in which they were needed: what was chosen, of how many.
///
/// A walk follows what it is given and chooses the first alternative from there on, so that
/// [`Choices::next`] visits every combination once, the latest choice changing fastest.
#[derive(Debug, Clone, Default)]
pub(crate) struct Choices {
    made: Vec<(usize, usize)>,
    used: usize,
}

impl Choices {
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

    /// The choices for the next walk; none if all were tried.
    pub(crate) fn next(mut self) -> Option<Self> {
        while let Some((choice, of)) = self.made.pop() {
            if choice + 1 < of {
                self.made.push((choice + 1, of));
                self.used = 0;
                return Some(self);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::Choices;

    #[test]
    fn every_combination_is_visited_once() {
        let mut seen = Vec::new();
        let mut choices = Some(Choices::default());
        while let Some(mut now) = choices {
            let first = now.pick(2);
            // A choice may depend on earlier ones.
            let second = if first == 0 { now.pick(3) } else { now.pick(1) };
            seen.push((first, second));
            choices = now.next();
        }
        assert_eq!(seen, [(0, 0), (0, 1), (0, 2), (1, 0)]);
    }
}
