//! Writes hives of the Windows registry: keys with subkeys and values, in the simplest of the forms that Windows writes.

/// A key to write.
#[derive(Debug, Clone, Default)]
pub struct NewKey {
    /// Its name.
    pub name: String,
    /// Values: name, type and data.
    pub values: Vec<(String, u32, Vec<u8>)>,
    /// The keys below it.
    pub keys: Vec<NewKey>,
}

impl NewKey {
    /// Begins a key without values.
    pub fn new(name: &str) -> NewKey {
        NewKey { name: name.to_owned(), ..NewKey::default() }
    }

    /// Adds a string.
    pub fn text(mut self, name: &str, text: &str) -> NewKey {
        let data = text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
        self.values.push((name.to_owned(), 1, data));
        self
    }

    /// Adds a number.
    pub fn number(mut self, name: &str, number: u32) -> NewKey {
        self.values.push((name.to_owned(), 4, number.to_le_bytes().to_vec()));
        self
    }

    /// Adds bytes.
    pub fn binary(mut self, name: &str, bytes: &[u8]) -> NewKey {
        self.values.push((name.to_owned(), 3, bytes.to_vec()));
        self
    }

    /// Changes the key at the end of a path; the keys on the way to it are made where they are not there.
    pub fn add(&mut self, path: &[&str], change: impl FnOnce(NewKey) -> NewKey) {
        let Some((first, rest)) = path.split_first() else {
            *self = change(std::mem::take(self));
            return;
        };
        let place = self.keys.iter().position(|other| other.name == *first).unwrap_or_else(|| {
            self.keys.push(NewKey::new(first));
            self.keys.len() - 1
        });
        self.keys[place].add(rest, change);
    }

    /// Writes the hive with this key as its root.
    pub fn to_hive(&self) -> Vec<u8> {
        let mut hive = vec![0; 0x1000];
        hive[..4].copy_from_slice(b"regf");
        let root = self.write(&mut hive);
        hive[0x24..0x28].copy_from_slice(&root.to_le_bytes());
        hive
    }

    fn write(&self, hive: &mut Vec<u8>) -> u32 {
        let keys: Vec<(u32, u32)> =
            self.keys.iter().map(|key| (key.write(hive), hash_of(&key.name))).collect();
        let mut list = b"lh".to_vec();
        list.extend_from_slice(&u16::try_from(keys.len()).expect("tests write small hives").to_le_bytes());
        keys.iter().for_each(|(offset, hash)| {
            list.extend_from_slice(&offset.to_le_bytes());
            list.extend_from_slice(&hash.to_le_bytes());
        });
        let key_list = cell(hive, &list);
        let values: Vec<u8> =
            self.values.iter().flat_map(|value| write_value(hive, value).to_le_bytes()).collect();
        let value_list = cell(hive, &values);
        let mut node = vec![0; 0x4c];
        node[..2].copy_from_slice(b"nk");
        node[2] = 0x20;
        let count = |count: usize| u32::try_from(count).expect("tests write small hives").to_le_bytes();
        node[0x14..0x18].copy_from_slice(&count(self.keys.len()));
        node[0x1c..0x20].copy_from_slice(&key_list.to_le_bytes());
        node[0x24..0x28].copy_from_slice(&count(self.values.len()));
        node[0x28..0x2c].copy_from_slice(&value_list.to_le_bytes());
        node[0x48..0x4a]
            .copy_from_slice(&u16::try_from(self.name.len()).expect("tests write small hives").to_le_bytes());
        node.extend_from_slice(self.name.as_bytes());
        cell(hive, &node)
    }
}

fn write_value(hive: &mut Vec<u8>, (name, kind, data): &(String, u32, Vec<u8>)) -> u32 {
    let length = u32::try_from(data.len()).expect("tests write small hives");
    let (length, place) = match data.first_chunk::<4>() {
        Some(inline) if data.len() == 4 => (length | 1 << 31, u32::from_le_bytes(*inline)),
        _ => (length, cell(hive, data)),
    };
    let mut value = b"vk".to_vec();
    value.extend_from_slice(&u16::try_from(name.len()).expect("tests write small hives").to_le_bytes());
    for word in [length, place, *kind, 1] {
        value.extend_from_slice(&word.to_le_bytes());
    }
    value.extend_from_slice(name.as_bytes());
    cell(hive, &value)
}

/// Appends a cell; gives its offset.
fn cell(hive: &mut Vec<u8>, bytes: &[u8]) -> u32 {
    let offset = u32::try_from(hive.len() - 0x1000).expect("tests write small hives");
    let length = (bytes.len() + 4).next_multiple_of(8);
    hive.extend_from_slice(&(-i32::try_from(length).expect("tests write small hives")).to_le_bytes());
    hive.extend_from_slice(bytes);
    hive.resize(0x1000 + usize::try_from(offset).expect("tests write small hives") + length, 0);
    offset
}

/// The hash of a key's name in a list of the kind `lh`.
fn hash_of(name: &str) -> u32 {
    let units = name.to_ascii_uppercase();
    units.encode_utf16().fold(0u32, |hash, unit| hash.wrapping_mul(37).wrapping_add(unit.into()))
}
