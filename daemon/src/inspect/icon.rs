//! The icon of an operating system: a PNG that its distribution has in a known place, when it looks like one.

use guestfs_api::values::{Distro, GuestPath};

use super::guest::{Guest, known};

/// The widths and heights that an icon can have, in pixels.
const PIXELS: std::ops::RangeInclusive<u32> = 16..=1024;

/// A place where an icon can be, and the largest size that it can have there, in bytes; without one, the largest is that
/// of all its pixels.
type Place = (&'static str, Option<u64>);

/// The icon that an administrator has given the system; it is small.
const FAVICON: Place = ("/etc/favicon.png", None);

/// Where distributions have theirs, in the order of preference.
fn places(distro: Distro, major: i32) -> &'static [Place] {
    match distro {
        Distro::Fedora => &[("/usr/share/icons/hicolor/96x96/apps/fedora-logo-icon.png", None)],
        Distro::CentOs
        | Distro::Circle
        | Distro::OracleLinux
        | Distro::RedHatBased
        | Distro::Rhel
        | Distro::Rocky
        | Distro::ScientificLinux => match major {
            ..7 => &[("/usr/share/pixmaps/redhat/shadowman-transparent.png", Some(102_400))],
            _ => &[("/usr/share/icons/hicolor/96x96/apps/system-logo-icon.png", Some(102_400))],
        },
        Distro::Debian => &[("/usr/share/pixmaps/debian-logo.png", Some(2048))],
        Distro::Ubuntu => &[
            ("/usr/share/icons/gnome/24x24/places/ubuntu-logo.png", Some(2048)),
            ("/usr/share/help/C/ubuntu-help/figures/ubuntu-logo.png", Some(2048)),
        ],
        Distro::Mageia => &[("/usr/share/icons/mageia.png", Some(10_240))],
        Distro::OpenSuse | Distro::Sles | Distro::SuseBased => &[
            ("/usr/share/icons/hicolor/48x48/apps/distributor.png", Some(10_240)),
            ("/usr/share/icons/hicolor/24x24/apps/distributor.png", Some(10_240)),
        ],
        Distro::VoidLinux => &[("/usr/share/void-artwork/void-logo.png", Some(20_480))],
        Distro::Gentoo => &[("/usr/share/icons/gentoo/48x48/gentoo.png", Some(10_240))],
        Distro::OpenMandriva => &[
            ("/usr/share/icons/large/mandriva.png", Some(10_240)),
            ("/usr/share/icons/mandriva.png", Some(10_240)),
        ],
        Distro::AltLinux => &[("/usr/share/icons/hicolor/48x48/apps/altlinux.png", Some(20_480))],
        // The others have none, or none whose place is known.
        _ => &[],
    }
}

/// Which icons of a system are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Whether the one that an administrator gives counts.
    pub has_favicon: bool,
    /// Whether only those of high quality count: neither those that an administrator gives nor Ubuntu's.
    pub is_high_quality: bool,
}

/// Gives the icon of a system; `None` where it has none that is known.
pub fn of(guest: &Guest, distro: Distro, major: i32, wanted: Wanted) -> Option<Vec<u8>> {
    let Wanted { has_favicon, is_high_quality } = wanted;
    let favicon = (has_favicon && !is_high_quality).then_some(&FAVICON);
    let own = if is_high_quality && distro == Distro::Ubuntu { &[] } else { places(distro, major) };
    favicon.into_iter().chain(own).find_map(|(path, bytes_max)| icon(guest, &known(path), *bytes_max))
}

fn icon(guest: &Guest, path: &GuestPath, bytes_max: Option<u64>) -> Option<Vec<u8>> {
    let all_pixels = |(width, height): (u32, u32)| 4 * u64::from(width) * u64::from(height);
    let bytes = guest.text_at(path, bytes_max.unwrap_or(all_pixels((*PIXELS.end(), *PIXELS.end()))))?;
    let size = size_of(&bytes).filter(|(width, height)| PIXELS.contains(width) && PIXELS.contains(height))?;
    let fits = bytes.len() as u64 <= bytes_max.unwrap_or(all_pixels(size));
    fits.then_some(bytes)
}

/// Gives the width and height of a PNG from its first part, which tells them.
fn size_of(png: &[u8]) -> Option<(u32, u32)> {
    let rest = png.strip_prefix(b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR")?;
    let number = |place: usize| Some(u32::from_be_bytes(*rest.get(place..)?.first_chunk()?));
    Some((number(0)?, number(4)?))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::sysroot::Sysroot;

    fn png(width: u32, height: u32, bytes: usize) -> Vec<u8> {
        let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR".to_vec();
        png.extend([width, height].map(u32::to_be_bytes).concat());
        png.resize(bytes, 0);
        png
    }

    fn write(folder: &Path, path: &str, content: &[u8]) {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    fn found(folder: &Path, distro: Distro, major: i32, is_high_quality: bool) -> Option<usize> {
        let sysroot = Sysroot::new(folder, true).unwrap();
        let guest = Guest::new(sysroot, Instant::now() + Duration::from_secs(60));
        let wanted = Wanted { has_favicon: true, is_high_quality };
        of(&guest, distro, major, wanted).map(|icon| icon.len())
    }

    #[test]
    fn an_administrators_icon_goes_before_the_distributions() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(found(folder.path(), Distro::Debian, 12, false), None);
        write(folder.path(), "usr/share/pixmaps/debian-logo.png", &png(48, 48, 1500));
        assert_eq!(found(folder.path(), Distro::Debian, 12, false), Some(1500));
        write(folder.path(), "etc/favicon.png", &png(16, 16, 900));
        assert_eq!(found(folder.path(), Distro::Debian, 12, false), Some(900));
        assert_eq!(found(folder.path(), Distro::Debian, 12, true), Some(1500));
        assert_eq!(found(folder.path(), Distro::Fedora, 40, true), None);
    }

    #[test]
    fn what_is_no_icon_does_not_count() {
        let folder = tempfile::tempdir().unwrap();
        for (icon, is_one) in [
            (png(16, 16, 1024), true),
            (png(16, 16, 1025), false),
            (png(15, 16, 100), false),
            (png(1025, 16, 100), false),
            (png(16, u32::MAX, 100), false),
            (b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0".to_vec(), false),
            (b"GIF89a".to_vec(), false),
        ] {
            write(folder.path(), "etc/favicon.png", &icon);
            assert_eq!(found(folder.path(), Distro::Unknown, 0, false).is_some(), is_one, "{:?}", &icon[..6]);
        }
        write(folder.path(), "usr/share/pixmaps/debian-logo.png", &png(48, 48, 2049));
        assert_eq!(found(folder.path(), Distro::Debian, 12, true), None);
    }
}
