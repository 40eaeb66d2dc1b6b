//! The question before something is destroyed.

use std::io::{BufRead, IsTerminal, Write};

use crate::cli::Usage;

/// Who may be asked.
#[derive(Clone, Copy)]
pub(super) struct Consent {
    /// It was said beforehand.
    pub(super) yes: bool,
    /// There is nobody.
    pub(super) no_input: bool,
}

impl Consent {
    /// Goes on only with a yes.
    ///
    /// # Errors
    /// There is nobody to ask (usage), or the answer was no.
    pub(super) fn ask(self, question: &str) -> anyhow::Result<()> {
        if self.yes {
            return Ok(());
        }
        if self.no_input || !std::io::stdin().is_terminal() {
            let why = if self.no_input { "--no-input" } else { "standard input is no terminal" };
            return Err(Usage(format!("{question} Nobody can be asked ({why}): say --yes. Nothing was done")).into());
        }
        let mut answer = String::new();
        {
            let mut out = std::io::stderr().lock();
            write!(out, "{question} [y/N] ")?;
            out.flush()?;
        }
        std::io::stdin().lock().read_line(&mut answer)?;
        if is_yes(&answer) { Ok(()) } else { Err(anyhow::anyhow!("nothing was done")) }
    }
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_is_a_yes() {
        assert!(["y", "Y\n", " yes \n"].into_iter().all(is_yes));
        assert!(!["", "\n", "n", "yeah", "yes please"].into_iter().any(is_yes));
    }

    #[test]
    fn where_nobody_can_be_asked_it_is_a_usage_error() {
        let refused = Consent { yes: false, no_input: true }.ask("Drop it?").unwrap_err();
        assert!(refused.downcast_ref::<Usage>().is_some());
        assert!(refused.to_string().contains("--yes"));
        assert!(Consent { yes: true, no_input: true }.ask("Drop it?").is_ok());
    }
}
