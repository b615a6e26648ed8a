//! Reads the index of kernel modules that the appliance's builder wrote: which file a module is in, what it needs, and
//! the names under which the kernel asks for it.

use std::collections::HashMap;
use std::path::Path;

use super::cmdline::is_same_module;

/// One module of the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Module<'a> {
    /// The name, with `_` for `-`.
    pub name: &'a str,
    /// The file, decompressed.
    pub path: &'a Path,
    depends: &'a str,
}

impl<'a> Module<'a> {
    /// Gives the names of the modules to load before.
    pub fn depends(&self) -> impl Iterator<Item = &'a str> {
        listed(self.depends)
    }
}

/// The index: for each module a line `NAME<TAB>PATH<TAB>DEPEND,DEPEND<TAB>ALIAS,ALIAS`.
#[derive(Debug, Default)]
pub struct ModuleIndex {
    text: String,
    /// Where the line of a module begins.
    names: HashMap<Box<str>, usize>,
    /// Where the lines of the modules with an alias begin: several may do the same, each in its way.
    aliases: HashMap<Box<str>, Vec<usize>>,
}

impl ModuleIndex {
    /// Reads the index; lines that are not of its form are passed over.
    pub fn parse(text: String) -> ModuleIndex {
        let mut names = HashMap::new();
        let mut aliases: HashMap<Box<str>, Vec<usize>> = HashMap::new();
        let mut start = 0;
        for line in text.split_inclusive('\n') {
            if let Some((module, listed_aliases)) = parse_line(line) {
                names.insert(plain(module.name), start);
                for alias in listed(listed_aliases) {
                    aliases.entry(plain(alias)).or_default().push(start);
                }
            }
            start += line.len();
        }
        ModuleIndex { text, names, aliases }
    }

    /// Finds a module by its name, or else all with that alias, such as `fs-xfs`, which the kernel asks for.
    pub fn find(&self, name: &str) -> Vec<Module<'_>> {
        let name = plain(name);
        let starts = match self.names.get(&name) {
            Some(start) => std::slice::from_ref(start),
            None => self.aliases.get(&name).map_or(&[][..], Vec::as_slice),
        };
        starts
            .iter()
            .filter_map(|start| self.text[*start..].lines().next())
            .filter_map(parse_line)
            .map(first)
            .collect()
    }

    /// Gives the modules to load for `module`: each after what it needs, itself last. A module that the index does not
    /// have is left out: it may be built into the kernel.
    pub fn load_order<'a>(&'a self, module: Module<'a>) -> Vec<Module<'a>> {
        let mut order = Vec::new();
        self.add_with_depends(module, &mut Vec::new(), &mut order);
        order
    }

    /// Adds a module after what it needs; `entered` has those whose turn has begun, so that a circle ends.
    fn add_with_depends<'a>(
        &'a self,
        module: Module<'a>,
        entered: &mut Vec<&'a str>,
        order: &mut Vec<Module<'a>>,
    ) {
        if entered.iter().any(|name| is_same_module(name, module.name)) {
            return;
        }
        entered.push(module.name);
        for depend in module.depends() {
            for depend in self.find(depend) {
                self.add_with_depends(depend, entered, order);
            }
        }
        order.push(module);
    }
}

/// Takes a line apart: the module, and the list of its aliases.
fn parse_line(line: &str) -> Option<(Module<'_>, &str)> {
    let mut fields = line.trim_end_matches('\n').split('\t');
    let name = fields.next().filter(|name| !name.is_empty())?;
    let path = fields.next().filter(|path| path.starts_with('/'))?;
    let depends = fields.next().unwrap_or("");
    let aliases = fields.next().unwrap_or("");
    Some((Module { name, path: Path::new(path), depends }, aliases))
}

fn first<T, U>((first, _): (T, U)) -> T {
    first
}

fn listed(names: &str) -> impl Iterator<Item = &str> {
    names.split(',').filter(|name| !name.is_empty())
}

/// Writes a name as it is looked up.
fn plain(name: &str) -> Box<str> {
    name.replace('-', "_").into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const INDEX: &str = "virtio\t/modules/virtio.ko\t\t\n\
        virtio_ring\t/modules/virtio_ring.ko\t\t\n\
        virtio_scsi\t/modules/virtio_scsi.ko\tvirtio,virtio-ring,scsi_mod\t\n\
        scsi_mod\t/modules/scsi_mod.ko\tscsi_common\t\n\
        scsi_common\t/modules/scsi_common.ko\n\
        xfs\t/tools/modules/xfs.ko\tlibcrc32c,exportfs\tfs-xfs\n\
        broken line\n\
        libcrc32c\t/tools/modules/libcrc32c.ko\tcrc32c_generic\t\n\
        crc32c_generic\t/tools/modules/crc32c_generic.ko\t\tcrypto-crc32c,crypto-crc32c-generic\n\
        crc32c_intel\t/tools/modules/crc32c_intel.ko\t\tcrypto-crc32c,crypto-crc32c-intel\n";

    fn order(index: &ModuleIndex, name: &str) -> Vec<String> {
        let orders = index.find(name).into_iter().flat_map(|module| index.load_order(module));
        orders.map(|module| module.name.to_owned()).collect()
    }

    fn paths(index: &ModuleIndex, name: &str) -> Vec<String> {
        index.find(name).iter().map(|module| module.path.display().to_string()).collect()
    }

    #[test]
    fn what_a_module_needs_comes_before_it() {
        let index = ModuleIndex::parse(INDEX.to_owned());
        assert_eq!(
            order(&index, "virtio_scsi"),
            ["virtio", "virtio_ring", "scsi_common", "scsi_mod", "virtio_scsi"]
        );
    }

    #[test]
    fn the_kernels_names_find_all_modules_whatever_the_dashes() {
        let index = ModuleIndex::parse(INDEX.to_owned());
        assert_eq!(order(&index, "fs-xfs"), ["crc32c_generic", "libcrc32c", "xfs"]);
        let both = ["/tools/modules/crc32c_generic.ko", "/tools/modules/crc32c_intel.ko"];
        assert_eq!(paths(&index, "crypto_crc32c"), both);
        assert_eq!(paths(&index, "virtio-ring"), ["/modules/virtio_ring.ko"]);
        assert!(paths(&index, "fs-zfs").is_empty());
    }

    #[test]
    fn a_circle_ends_with_each_module_once() {
        let index = ModuleIndex::parse("a\t/a.ko\tb\t\nb\t/b.ko\ta,c\t\nc\t/c.ko\tc\t\n".to_owned());
        assert_eq!(order(&index, "a"), ["c", "b", "a"]);
    }

    #[test]
    fn a_name_goes_before_an_alias() {
        let index = ModuleIndex::parse("a\t/a.ko\t\tb\nb\t/b.ko\t\t\n".to_owned());
        assert_eq!(paths(&index, "b"), ["/b.ko"]);
    }

    proptest! {
        #[test]
        fn any_text_is_read_and_any_order_is_finite(text in "([a-c]{1,2}\t/x[\t,a-c\n-]{0,9}\n?){0,9}") {
            let index = ModuleIndex::parse(text);
            for name in index.names.keys().chain(index.aliases.keys()) {
                for module in index.find(name) {
                    let order = index.load_order(module);
                    prop_assert_eq!(order.last(), Some(&module));
                    prop_assert!(order.len() <= index.names.len());
                }
            }
        }
    }
}
