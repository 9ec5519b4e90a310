# source: updates
# about: whether packages are upgraded without anybody asking, and what is left out of that
# by_hand: apt-config dump | grep -E 'Periodic|Unattended'; systemctl list-timers; cat /etc/dnf/automatic.conf
# timeout: 12
# lane: slow
# root: no
nd_file /proc/1/comm
if nd_have apt-config; then
    up_apt() { apt-config dump | grep -E '^(APT::Periodic::|Unattended-Upgrade::(Allowed-Origins|Origins-Pattern|Package-Blacklist))'; echo nd_end; }
    nd_cmd_as 'apt-config dump' up_apt
else
    nd_text 'apt-config dump' none
fi
for up_file in /etc/dnf/automatic.conf /etc/dnf/dnf5-plugins/automatic.conf /etc/yum/yum-cron.conf; do
    if [ -e "$up_file" ]; then nd_cmd_as "$up_file" grep -aE '^[[:space:]]*(apply_updates|upgrade_type|update_cmd)[[:space:]]*=' "$up_file"; fi
done
up_excludes() { grep -aE '^[[:space:]]*(exclude|excludepkgs)[[:space:]]*=' /etc/dnf/dnf.conf /etc/yum.conf 2>/dev/null; echo nd_end; }
if [ -e /etc/dnf/dnf.conf ] || [ -e /etc/yum.conf ]; then
    nd_cmd_as excludes up_excludes
else
    nd_text excludes none
fi
nd_cmd_as 'systemctl show' timeout -k 1 6 systemctl show --no-pager -p Id -p Names -p LoadState -p ActiveState -p UnitFileState \
    apt-daily-upgrade.timer unattended-upgrades.service dnf-automatic.timer dnf-automatic-install.timer \
    dnf5-automatic.timer yum-cron.service transactional-update.timer
