//! Makes BitLocker volumes out of plain ones, as Windows does since version 7: no program of Linux's makes any.
//!
//! The layout is that of "BitLocker Drive Encryption (BDE) format specification" (libbde's documentation): a boot sector
//! names three copies of the metadata, which hold the keys, each wrapped in another; the volume's own first sectors lie
//! behind the first copy.

use aes::{Aes128, Aes256, cipher::KeyInit};
use ccm::Ccm;
use ccm::aead::AeadInOut;
use ccm::consts::{U12, U16};
use sha2::{Digest, Sha256};
use xts_mode::{Xts128, get_tweak_default};

/// The unit of encryption, in bytes.
const SECTOR_BYTES: usize = 512;

/// What a copy of the metadata takes, in bytes.
const METADATA_BYTES: usize = 64 << 10;

/// How much of the volume's beginning lies elsewhere, since the boot sector is there, in bytes.
const BEGINNING_BYTES: usize = 8192;

/// Names BitLocker in the boot sector: 4967d63b-2e29-4ad8-8399-f6a339e3d001.
const IDENTIFIER: [u8; 16] =
    [0x3b, 0xd6, 0x67, 0x49, 0x29, 0x2e, 0xd8, 0x4a, 0x83, 0x99, 0xf6, 0xa3, 0x39, 0xe3, 0xd0, 0x01];

/// The volume's own identifier, in the order in which it is shown.
pub const UUID: &str = "10325476-98ba-dcfe-1032-5476989abcde";
const UUID_BYTES: [u8; 16] =
    [0x76, 0x54, 0x32, 0x10, 0xba, 0x98, 0xfe, 0xdc, 0x10, 0x32, 0x54, 0x76, 0x98, 0x9a, 0xbc, 0xde];

/// How often a password is hashed.
const STRETCHING_ROUNDS: u64 = 0x10_0000;

/// Methods of encryption: AES-XTS with 128 bits; AES-CCM with 256 bits, for keys; and stretching.
const AES_XTS_128: u32 = 0x8004;
const AES_CCM_256: u32 = 0x2003;
const STRETCHED: u32 = 0x1000;

/// What protects a key.
const BY_PASSWORD: u16 = 0x2000;
const BY_RECOVERY_PASSWORD: u16 = 0x0800;

/// The keys of a volume, the same in each.
const MASTER_KEY: [u8; 32] = [0x4d; 32];
const VOLUME_KEY: [u8; 32] = *b"0123456789abcdefFEDCBA9876543210";

/// A password of 48 digits, from which the key of 16 bytes is had.
#[derive(Debug, Clone, Copy)]
pub struct RecoveryPassword([u16; 8]);

impl RecoveryPassword {
    /// Takes the parts of the key.
    pub fn new(parts: [u16; 8]) -> RecoveryPassword {
        RecoveryPassword(parts)
    }

    /// Writes the digits as Windows shows them: groups of six, each a multiple of eleven.
    pub fn digits(self) -> String {
        self.0.map(|part| format!("{:06}", u32::from(part) * 11)).join("-")
    }
}

/// Encrypts a volume, which must have room that holds zeros.
///
/// # Panics
/// Panics when it has not: the places of the metadata read as zeros afterwards.
pub fn encrypt(volume: &mut [u8], password: &str, recovery: RecoveryPassword) {
    assert!(volume.len() % SECTOR_BYTES == 0, "a volume consists of sectors");
    let places = free_places(volume);
    let beginning_place = places[0] + METADATA_BYTES;
    let beginning = volume[..BEGINNING_BYTES].to_vec();
    volume[beginning_place..beginning_place + BEGINNING_BYTES].copy_from_slice(&beginning);
    let (data_key, tweak_key) = VOLUME_KEY.split_at(16);
    let cipher = |key: &[u8]| Aes128::new_from_slice(key).expect("16 bytes are a key");
    let xts = Xts128::new(cipher(data_key), cipher(tweak_key));
    xts.encrypt_area(volume, SECTOR_BYTES, 0, get_tweak_default);

    let metadata = metadata(&places, volume.len(), beginning_place, password, recovery);
    for place in places {
        volume[place..place + METADATA_BYTES].copy_from_slice(&metadata);
    }
    volume[..SECTOR_BYTES].copy_from_slice(&boot_sector(&places));
}

/// Finds three places that hold zeros, in the second half, each with room for the beginning behind it.
fn free_places(volume: &[u8]) -> [usize; 3] {
    const BYTES: usize = METADATA_BYTES + BEGINNING_BYTES;
    const STEP: usize = 128 << 10;
    let start = (volume.len() / 2).next_multiple_of(STEP);
    let is_free = |place: &usize| volume[*place..*place + BYTES].iter().all(|byte| *byte == 0);
    let mut free = (start..volume.len() - BYTES).step_by(STEP).filter(is_free);
    std::array::from_fn(|_| free.next().expect("the volume has room for the metadata"))
}

fn boot_sector(places: &[usize; 3]) -> Vec<u8> {
    let mut sector = vec![0; SECTOR_BYTES];
    sector[..11].copy_from_slice(b"\xeb\x58\x90-FVE-FS-");
    sector[11..13].copy_from_slice(&[0, 2]);
    sector[160..176].copy_from_slice(&IDENTIFIER);
    sector[176..200].copy_from_slice(&places.map(number).concat());
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    sector
}

fn metadata(
    places: &[usize; 3],
    volume_bytes: usize,
    beginning_place: usize,
    password: &str,
    recovery: RecoveryPassword,
) -> Vec<u8> {
    /// What is behind the entries is zeros, which end them: readers do not agree on where the list ends.
    const MARGIN_BYTES: usize = 64;
    let utf16: Vec<u8> = password.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let from_digits: Vec<u8> = recovery.0.into_iter().flat_map(u16::to_le_bytes).collect();
    let description: Vec<u8> =
        "made by a test".encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
    let entries = [
        entry(7, 2, &description),
        wrapped_master_key(BY_RECOVERY_PASSWORD, Sha256::digest(&from_digits).into(), 0xb2),
        wrapped_master_key(BY_PASSWORD, Sha256::digest(Sha256::digest(&utf16)).into(), 0xa1),
        entry(3, 5, &sealed(&MASTER_KEY, &VOLUME_KEY, AES_XTS_128, 3)),
        entry(15, 15, &[number(beginning_place), number(BEGINNING_BYTES)].concat()),
        vec![0; MARGIN_BYTES],
    ]
    .concat();
    let list_bytes = u32::try_from(48 + entries.len()).expect("there are few entries").to_le_bytes();
    let beginning_sectors = u32::try_from(BEGINNING_BYTES / SECTOR_BYTES).expect("a small number");
    let mut metadata = [
        // The block: its size, its version, and that all is encrypted and stays so.
        &b"-FVE-FS-"[..],
        &[64, 0, 2, 0, 4, 0, 4, 0],
        &number(volume_bytes),
        &[0; 4],
        &beginning_sectors.to_le_bytes(),
        &places.map(number).concat(),
        &number(beginning_place),
        // The list: its size, version, what is before its entries, and its size again.
        &list_bytes,
        &[1, 0, 0, 0, 48, 0, 0, 0],
        &list_bytes,
        &UUID_BYTES,
        &[4, 0, 0, 0],
        &AES_XTS_128.to_le_bytes(),
        &time(),
        &entries,
    ]
    .concat();
    assert!(metadata.len() <= METADATA_BYTES, "the metadata is small");
    metadata.resize(METADATA_BYTES, 0);
    metadata
}

/// Writes the master key, protected by what `first_hash` was made of.
fn wrapped_master_key(protection: u16, first_hash: [u8; 32], number: u8) -> Vec<u8> {
    let salt = [number; 16];
    let key = stretch(first_hash, salt);
    let parts = [
        &[number; 16][..],
        &time(),
        &[0; 2],
        &protection.to_le_bytes(),
        &entry(0, 3, &[&STRETCHED.to_le_bytes()[..], &salt].concat()),
        &entry(0, 5, &sealed(&key, &MASTER_KEY, AES_CCM_256, number)),
    ];
    entry(2, 8, &parts.concat())
}

/// Makes a key of a hash, slowly.
fn stretch(first: [u8; 32], salt: [u8; 16]) -> [u8; 32] {
    let mut last = [0; 32];
    for round in 0..STRETCHING_ROUNDS {
        let hash = Sha256::new().chain_update(last).chain_update(first).chain_update(salt);
        last = hash.chain_update(round.to_le_bytes()).finalize().into();
    }
    last
}

/// Encrypts a key with another; gives the number used once, the code that shows it is the right one, and the key.
fn sealed(with: &[u8; 32], key: &[u8], method: u32, number: u8) -> Vec<u8> {
    let length = u32::try_from(12 + key.len()).expect("a key is short").to_le_bytes();
    let mut sealed = [&length[..], &[1, 0, 0, 0], &method.to_le_bytes(), key].concat();
    let cipher = Ccm::<Aes256, U16, U12>::new(with.into());
    let nonce = [number; 12];
    let code = cipher.encrypt_inout_detached(&nonce.into(), b"", sealed.as_mut_slice().into());
    [&nonce[..], &code.expect("a key is not too long"), &sealed].concat()
}

/// Writes an entry: its size, type, kind of value, version.
fn entry(kind: u16, value: u16, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + content.len()).expect("an entry is small");
    let header = [length, kind, value, 1].map(u16::to_le_bytes).concat();
    [&header[..], content].concat()
}

/// A time as Windows counts it: in 2024.
fn time() -> [u8; 8] {
    133_500_000_000_000_000_u64.to_le_bytes()
}

fn number(count: usize) -> [u8; 8] {
    u64::try_from(count).expect("64 bits are enough").to_le_bytes()
}
