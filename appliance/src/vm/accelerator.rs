//! Decides between hardware virtualisation and emulation, and says why. `/dev/kvm` alone proves nothing: where
//! the CPU shows no virtualisation to this machine it can open, make a virtual CPU, and then hang for ever.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::LaunchError;

/// What the user wants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AcceleratorChoice {
    /// KVM where it works, else emulation.
    #[default]
    Automatic,
    /// Emulation.
    Emulation,
    /// KVM or nothing.
    Kvm,
}

/// What the VM runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accelerator {
    /// Hardware virtualisation.
    Kvm,
    /// QEMU's emulator, tens of times slower.
    Emulation(WhyNotKvm),
}

/// Why KVM is not used. The text is one line that ends in what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhyNotKvm {
    /// Emulation was asked for.
    NotWanted,
    /// There is no `/dev/kvm`.
    NoDevice,
    /// `/dev/kvm` may not be opened.
    NoPermission,
    /// `/dev/kvm` cannot be opened for another reason.
    CannotOpen,
    /// The CPU does not show the features KVM needs.
    NoHardwareSupport,
}

impl fmt::Display for WhyNotKvm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            WhyNotKvm::NotWanted => "emulating the CPU, as asked for",
            WhyNotKvm::NoDevice => {
                "emulating the CPU, which is slow: there is no /dev/kvm; load the module kvm_intel or kvm_amd, or enable virtualisation in the firmware"
            }
            WhyNotKvm::NoPermission => {
                "emulating the CPU, which is slow: no permission to open /dev/kvm; join its group: sudo usermod -aG kvm $USER, then log in again"
            }
            WhyNotKvm::CannotOpen => {
                "emulating the CPU, which is slow: /dev/kvm exists and cannot be opened; see the kernel's log: sudo dmesg"
            }
            WhyNotKvm::NoHardwareSupport => {
                "emulating the CPU, which is slow: it shows neither vmx nor svm; enable virtualisation in the firmware, or nested virtualisation on the host of this machine"
            }
        })
    }
}

impl Accelerator {
    /// Decides what to run on.
    ///
    /// # Errors
    /// Fails when KVM is demanded and cannot be used.
    pub fn choose(choice: AcceleratorChoice) -> Result<Accelerator, LaunchError> {
        match choice {
            AcceleratorChoice::Emulation => Ok(Accelerator::Emulation(WhyNotKvm::NotWanted)),
            AcceleratorChoice::Automatic => Ok(Accelerator::detect()),
            AcceleratorChoice::Kvm => match Accelerator::detect() {
                Accelerator::Kvm => Ok(Accelerator::Kvm),
                Accelerator::Emulation(why) => Err(LaunchError::NoKvm(why)),
            },
        }
    }

    /// Looks at this machine.
    pub fn detect() -> Accelerator {
        let opened = File::options().read(true).write(true).open(Path::new("/dev/kvm")).map(drop);
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        Accelerator::decide(opened.map_err(|error| error.kind()), &cpuinfo)
    }

    fn decide(opened: Result<(), io::ErrorKind>, cpuinfo: &str) -> Accelerator {
        let has_feature = || {
            let mut flags = cpuinfo.lines().filter(|line| line.starts_with("flags"));
            flags
                .next()
                .is_some_and(|line| line.split_whitespace().any(|flag| flag == "vmx" || flag == "svm"))
        };
        match opened {
            Ok(()) if has_feature() => Accelerator::Kvm,
            Ok(()) => Accelerator::Emulation(WhyNotKvm::NoHardwareSupport),
            Err(io::ErrorKind::NotFound) => Accelerator::Emulation(WhyNotKvm::NoDevice),
            Err(io::ErrorKind::PermissionDenied) => Accelerator::Emulation(WhyNotKvm::NoPermission),
            Err(_) => Accelerator::Emulation(WhyNotKvm::CannotOpen),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WITH_SVM: &str = "processor\t: 0\nflags\t\t: fpu svm sse\n";

    #[test]
    fn kvm_needs_the_device_and_the_cpu() {
        assert_eq!(Accelerator::decide(Ok(()), WITH_SVM), Accelerator::Kvm);
        let without = Accelerator::decide(Ok(()), "flags\t\t: fpu svm_lock\n");
        assert_eq!(without, Accelerator::Emulation(WhyNotKvm::NoHardwareSupport));
    }

    #[test]
    fn each_failure_to_open_has_its_own_advice() {
        for (kind, expected, advice) in [
            (io::ErrorKind::NotFound, WhyNotKvm::NoDevice, "kvm_intel"),
            (io::ErrorKind::PermissionDenied, WhyNotKvm::NoPermission, "usermod"),
            (io::ErrorKind::Other, WhyNotKvm::CannotOpen, "dmesg"),
        ] {
            assert_eq!(Accelerator::decide(Err(kind), WITH_SVM), Accelerator::Emulation(expected));
            let text = expected.to_string();
            assert!(text.contains(advice) && !text.contains('\n'), "{text}");
        }
    }
}
