//! Tells the architecture of a program from the headers of ELF and PE, in libguestfs's words.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// How much of a file's beginning is read, in bytes: an ELF header's first part, and the offset in a DOS header.
const HEADER_BYTES: usize = 64;

/// Machines of ELF (`e_machine`, the ELF gABI), with the word where neither class nor byte order matters.
const ELF_MACHINES: [(u16, &str); 12] = [
    (2, "sparc"),
    (3, "i386"),
    (6, "i386"),
    (18, "sparc"),
    (20, "ppc"),
    (40, "arm"),
    (43, "sparc64"),
    (50, "ia64"),
    (62, "x86_64"),
    (183, "aarch64"),
    (8, "mips"),
    (0x9026, "alpha"),
];

/// Machines of PE (`Machine` of the COFF header, Microsoft's PE format).
const PE_MACHINES: [(u16, &str); 5] =
    [(0x14c, "i386"), (0x8664, "x86_64"), (0xaa64, "aarch64"), (0x1c4, "arm"), (0x200, "ia64")];

/// Reads a program's headers; `None` when it is no program, or of a machine without a word.
pub fn of_program(file: &File) -> io::Result<Option<&'static str>> {
    let mut header = [0; HEADER_BYTES];
    let length = read_at(file, &mut header, 0)?;
    let header = &header[..length];
    if let Some(machine) = elf(header) {
        return Ok(Some(machine));
    }
    let Some(offset) = pe_offset(header) else { return Ok(None) };
    let mut coff = [0; 6];
    let length = read_at(file, &mut coff, offset.into())?;
    Ok(pe(&coff[..length]))
}

fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn elf(header: &[u8]) -> Option<&'static str> {
    const CLASS_64: u8 = 2;
    const LITTLE_ENDIAN: u8 = 1;
    let [class, order] = *header.strip_prefix(b"\x7fELF")?.first_chunk::<2>()?;
    let machine = *header.get(18..)?.first_chunk::<2>()?;
    let machine =
        if order == LITTLE_ENDIAN { u16::from_le_bytes(machine) } else { u16::from_be_bytes(machine) };
    match (machine, class == CLASS_64, order == LITTLE_ENDIAN) {
        (21, _, true) => Some("ppc64le"),
        (21, _, false) => Some("ppc64"),
        (22, true, _) => Some("s390x"),
        (22, false, _) => Some("s390"),
        (243, true, _) => Some("riscv64"),
        (243, false, _) => Some("riscv32"),
        (258, true, _) => Some("loongarch64"),
        (258, false, _) => Some("loongarch32"),
        _ => ELF_MACHINES.iter().find(|(number, _)| *number == machine).map(|(_, word)| *word),
    }
}

/// Gives where a DOS program says that its PE header begins.
fn pe_offset(header: &[u8]) -> Option<u32> {
    const OFFSET: usize = 0x3c;
    header.strip_prefix(b"MZ")?;
    Some(u32::from_le_bytes(*header.get(OFFSET..)?.first_chunk()?))
}

fn pe(coff: &[u8]) -> Option<&'static str> {
    let machine = u16::from_le_bytes(*coff.strip_prefix(b"PE\0\0")?.first_chunk()?);
    PE_MACHINES.iter().find(|(number, _)| *number == machine).map(|(_, word)| *word)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn of_bytes(bytes: &[u8]) -> Option<&'static str> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        of_program(&file).unwrap()
    }

    fn elf_header(class: u8, order: u8, machine: u16) -> Vec<u8> {
        let mut header = vec![0; 52];
        header[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', class, order]);
        let machine = if order == 1 { machine.to_le_bytes() } else { machine.to_be_bytes() };
        header[18..20].copy_from_slice(&machine);
        header
    }

    #[test]
    fn machines_of_elf_are_told_by_number_class_and_byte_order() {
        for (class, order, machine, word) in [
            (1, 1, 3, "i386"),
            (2, 1, 62, "x86_64"),
            (2, 1, 183, "aarch64"),
            (1, 1, 40, "arm"),
            (2, 2, 21, "ppc64"),
            (2, 1, 21, "ppc64le"),
            (1, 2, 20, "ppc"),
            (2, 2, 22, "s390x"),
            (1, 2, 22, "s390"),
            (1, 1, 243, "riscv32"),
            (2, 1, 243, "riscv64"),
            (1, 2, 2, "sparc"),
            (2, 2, 43, "sparc64"),
            (2, 1, 50, "ia64"),
            (2, 1, 258, "loongarch64"),
        ] {
            assert_eq!(of_bytes(&elf_header(class, order, machine)), Some(word));
        }
        assert_eq!(of_bytes(&elf_header(2, 1, 999)), None);
    }

    #[test]
    fn machines_of_pe_are_told_wherever_the_header_lies() {
        let mut program = vec![0; 0x200];
        program[..2].copy_from_slice(b"MZ");
        program[0x3c..0x40].copy_from_slice(&0x180u32.to_le_bytes());
        program[0x180..0x186].copy_from_slice(b"PE\0\0\x64\x86");
        assert_eq!(of_bytes(&program), Some("x86_64"));
        program[0x184..0x186].copy_from_slice(b"\x4c\x01");
        assert_eq!(of_bytes(&program), Some("i386"));
        program[0x3c..0x40].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(of_bytes(&program), None);
    }

    #[test]
    fn the_running_test_is_of_this_machine() {
        let program = File::open("/proc/self/exe").unwrap();
        let word = match std::env::consts::ARCH {
            "x86" => "i386",
            "powerpc64" => "ppc64",
            word => word,
        };
        assert_eq!(of_program(&program).unwrap(), Some(word));
    }

    proptest::proptest! {
        #[test]
        fn any_file_is_looked_at(bytes in proptest::collection::vec(0u8.., 0..200)) {
            of_bytes(&bytes);
            of_bytes(&[b"\x7fELF", &bytes[..]].concat());
            of_bytes(&[b"MZ", &bytes[..]].concat());
        }
    }
}
