//! Reads the kernel's command line.

/// The kernel's command line in words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommandLine {
    words: Vec<(String, Option<String>)>,
}

impl CommandLine {
    /// Takes the text of /proc/cmdline apart. As the kernel does, spaces inside double quotes belong to the word, and
    /// the quotes do not.
    pub fn parse(text: &str) -> CommandLine {
        let mut words = Vec::new();
        let mut word = String::new();
        let mut is_quoted = false;
        for letter in text.chars().chain([' ']) {
            match letter {
                '"' => is_quoted = !is_quoted,
                letter if letter.is_whitespace() && !is_quoted => words.push(std::mem::take(&mut word)),
                letter => word.push(letter),
            }
        }
        // What an unfinished quote leaves over is a word too.
        words.push(word);
        let words = words.into_iter().filter(|word| !word.is_empty());
        let pairs = words.map(|word| match word.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (word, None),
        });
        CommandLine { words: pairs.collect() }
    }

    /// Adds `name=value` unless `name` has a value already.
    #[must_use]
    pub fn with_default(mut self, name: &str, value: &str) -> CommandLine {
        if self.value(name).is_none() {
            self.words.push((name.to_owned(), Some(value.to_owned())));
        }
        self
    }

    /// Gives the value of the last `name=value`.
    pub fn value(&self, name: &str) -> Option<&str> {
        let mut latest_first = self.words.iter().rev();
        latest_first
            .find(|(word, value)| word == name && value.is_some())
            .and_then(|(_, value)| value.as_deref())
    }

    /// Says whether `name=1` is there.
    pub fn is_set(&self, name: &str) -> bool {
        self.value(name) == Some("1")
    }

    /// Gives the options for a module, each written as `MODULE.OPTION[=VALUE]`, in the form in which the kernel takes
    /// them when the module is loaded. The kernel itself only hands them to drivers that are built in.
    pub fn module_options(&self, module: &str) -> String {
        let mut options = Vec::new();
        for (word, value) in &self.words {
            let Some((owner, option)) = word.split_once('.') else { continue };
            if !is_same_module(owner, module) {
                continue;
            }
            options.push(match value {
                Some(value) if value.contains(char::is_whitespace) => format!("{option}=\"{value}\""),
                Some(value) => format!("{option}={value}"),
                None => option.to_owned(),
            });
        }
        options.join(" ")
    }
}

/// Compares names of modules, in which `-` and `_` are the same.
pub fn is_same_module(one: &str, other: &str) -> bool {
    let plain = |byte: u8| if byte == b'-' { b'_' } else { byte };
    one.len() == other.len() && one.bytes().map(plain).eq(other.bytes().map(plain))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_and_switches_are_found_and_the_last_one_counts() {
        let line =
            CommandLine::parse("quiet guestfs_disks=2 guestfs_verbose=0 guestfs_verbose=1 guestfs_disks=3\n");
        assert_eq!(line.value("guestfs_disks"), Some("3"));
        assert!(line.is_set("guestfs_verbose"));
        assert!(!line.is_set("quiet"));
        assert_eq!(line.value("quiet"), None);
        assert_eq!(line.value("missing"), None);
    }

    #[test]
    fn a_default_gives_way_to_what_was_said() {
        let line = CommandLine::parse("scsi_mod.scan=sync").with_default("scsi_mod.scan", "manual");
        assert_eq!(line.value("scsi_mod.scan"), Some("sync"));
        let line = CommandLine::parse("quiet").with_default("scsi_mod.scan", "manual");
        assert_eq!(line.module_options("scsi_mod"), "scan=manual");
    }

    #[test]
    fn quotes_keep_spaces_together() {
        let line = CommandLine::parse(r#"a="b c" "d=e f" g"#);
        assert_eq!(line.value("a"), Some("b c"));
        assert_eq!(line.value("d"), Some("e f"));
    }

    #[test]
    fn a_module_gets_its_own_options_only() {
        let line = CommandLine::parse(
            "scsi_mod.scan=manual scsi-mod.max_luns=1 sd_mod.x=1 a.b.c=2 loop.text=\"a b\"",
        );
        assert_eq!(line.module_options("scsi_mod"), "scan=manual max_luns=1");
        assert_eq!(line.module_options("a"), "b.c=2");
        assert_eq!(line.module_options("loop"), "text=\"a b\"");
        assert_eq!(line.module_options("virtio"), "");
    }

    proptest! {
        #[test]
        fn any_text_is_taken_apart(text in "\\PC{0,200}") {
            let line = CommandLine::parse(&text);
            prop_assert!(line.words.iter().all(|(name, value)| !name.is_empty() || value.is_some()));
        }

        #[test]
        fn words_without_quotes_come_back(words in proptest::collection::vec("[a-z_.]{1,8}(=[a-z0-9]{0,4})?", 0..8)) {
            let line = CommandLine::parse(&words.join(" "));
            let back: Vec<String> = line.words.iter().map(|(name, value)| match value {
                Some(value) => format!("{name}={value}"),
                None => name.clone(),
            }).collect();
            prop_assert_eq!(back, words);
        }
    }
}
