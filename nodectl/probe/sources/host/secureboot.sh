# source: secureboot
# about: whether the firmware enforces Secure Boot, and the kernel the signatures of its modules
# by_hand: mokutil --sb-state
# timeout: 5
# lane: fast
# root: no
[ -d /sys/kernel ] || nd_text 'not mounted' /sys
if [ -d /sys/firmware/efi ]; then nd_text efi yes; else nd_text efi no; fi
# An EFI variable is four bytes of attributes and then its value, here one byte.
sb_read() { cat /sys/firmware/efi/efivars/"$1"-8be4df61-93ca-11d2-aa0d-00e098032b8c | tail -c 1 | tr '\000\001' '01'; }
nd_cmd ls -d /sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c
nd_cmd_as SecureBoot sb_read SecureBoot
# What the kernel makes of it.
nd_grep /sys/kernel/security/lockdown /sys/module/module/parameters/sig_enforce
