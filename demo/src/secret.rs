//! Secrets: drawn at random, compared without telling where they differ, never printed.

use std::fmt;
use std::hint::black_box;

/// A secret text.
#[derive(Clone)]
pub(crate) struct Secret(String);

impl Secret {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Draws 128 random bits, as hexadecimal digits.
    pub(crate) fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)?;
        Ok(Self(format!("{:032x}", u128::from_ne_bytes(bytes))))
    }

    /// Compares in a time that depends on the lengths alone.
    pub(crate) fn is(&self, presented: &str) -> bool {
        let (kept, presented) = (self.0.as_bytes(), presented.as_bytes());
        let differing =
            kept.iter().zip(presented).fold(0, |bits, (a, b)| black_box(bits | (a ^ b)));
        kept.len() == presented.len() && differing == 0
    }

    /// Returns the text, for the client that is to keep it.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_text_is_the_secret() {
        let secret = Secret::new("letmein");
        assert!(secret.is("letmein"));
        for other in ["", "letmei", "letmeinn", "Letmein", "letmeim"] {
            assert!(!secret.is(other), "{other}");
        }
        assert!(!Secret::new("").is("x"));
        assert!(!format!("{secret:?}").contains("letmein"));
    }

    #[test]
    fn random_secrets_have_128_bits_and_differ() {
        let (one, other) = (Secret::random().unwrap(), Secret::random().unwrap());
        assert_eq!(one.reveal().len(), 32);
        assert!(!one.is(other.reveal()));
    }
}
