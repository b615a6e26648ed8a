//! Shows on standard error what takes long: the steps of building the appliance, as a bar on a terminal, else as a line
//! for each step; and its boot, on a terminal only.

use std::io::{self, IsTerminal};
use std::time::Duration;

use guestfs::appliance::{Progress, Step};

use crate::report::say;

/// How often the bar shows that the program is alive: a step can take a minute.
const TICK: Duration = Duration::from_millis(100);

/// How indicatif draws steps that are counted, and a boot, of which only the time is known.
const STEPS_TEMPLATE: &str = "{spinner} {msg} {wide_bar} {pos}/{len}";
const BOOT_TEMPLATE: &str = "{spinner} {msg} {elapsed}";

/// The steps shown so far. Whoever writes something else to standard error calls [`ProgressBar::clear`] first.
pub struct ProgressBar {
    /// The program, in front of each step.
    program: &'static str,
    is_drawn: bool,
    bar: Option<indicatif::ProgressBar>,
    /// The step of the last line.
    step: String,
}

impl ProgressBar {
    /// Makes one that shows nothing yet.
    pub fn new(program: &'static str) -> ProgressBar {
        ProgressBar { program, is_drawn: io::stderr().is_terminal(), bar: None, step: String::new() }
    }

    /// Shows that `done` of `total` units of `step` are finished.
    pub fn show(&mut self, step: &str, done: u64, total: u64) {
        if self.is_drawn {
            let text = self.text(step);
            let bar = self.bar.get_or_insert_with(|| bar(STEPS_TEMPLATE));
            bar.set_message(text);
            bar.set_length(total);
            bar.set_position(done);
        } else if let Some(line) = self.line(step) {
            say(line);
        }
    }

    /// Shows that the appliance boots, which has no steps.
    pub fn show_boot(&mut self) {
        self.clear();
        if self.is_drawn {
            let text = format!("{}: booting the appliance", self.program);
            self.bar.insert(bar(BOOT_TEMPLATE)).set_message(text);
        }
    }

    /// Takes the bar off the terminal; the next step draws it again.
    pub fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// Makes the line of a step that has none yet.
    fn line(&mut self, step: &str) -> Option<String> {
        if self.step == step {
            return None;
        }
        step.clone_into(&mut self.step);
        Some(self.text(step))
    }

    fn text(&self, step: &str) -> String {
        format!("{}: making the appliance, once: {step}", self.program)
    }
}

fn bar(template: &str) -> indicatif::ProgressBar {
    let style = indicatif::ProgressStyle::with_template(template).expect("the template is well-formed");
    let bar = indicatif::ProgressBar::no_length().with_style(style);
    bar.enable_steady_tick(TICK);
    bar
}

impl Progress for ProgressBar {
    fn report(&mut self, step: Step, done: u64, total: u64) {
        self.show(&step.to_string(), done, total);
    }
}

impl Drop for ProgressBar {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn off_a_terminal_each_step_has_one_line() {
        let mut progress = ProgressBar::new("p");
        assert_eq!(progress.line("download").as_deref(), Some("p: making the appliance, once: download"));
        assert_eq!(progress.line("download"), None);
        assert_eq!(progress.line("unpack").as_deref(), Some("p: making the appliance, once: unpack"));
    }
}
