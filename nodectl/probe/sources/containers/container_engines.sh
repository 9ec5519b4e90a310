# source: container_engines
# about: versions of the container engines and of the NVIDIA container toolkit, as their binaries say
# by_hand: dockerd --version; containerd --version; nvidia-ctk --version; nvidia-container-cli --version
# timeout: 20
# lane: slow
# root: no
# No daemon is asked: a daemon that hangs would hang its client. The GPU operator, RKE2, snaps and Flatcar keep their
# binaries in folders of their own.
PATH=$PATH:/usr/local/nvidia/toolkit:/usr/local/bin:/var/lib/rancher/rke2/bin:/snap/bin:/opt/bin
ce_missing=
# The one word that asks for the version, then the binaries that take it.
ce_ask() {
    ce_word=$1
    shift
    for ce_name; do
        if nd_have "$ce_name"; then
            nd_cmd_as "$ce_name" timeout -k 1 4 "$ce_name" "$ce_word"
        else
            ce_missing="$ce_missing $ce_name"
        fi
    done
}
ce_ask --version dockerd podman containerd crio runc crun nvidia-ctk nvidia-container-cli
ce_ask version enroot
nd_text 'not found' "${ce_missing# }"
