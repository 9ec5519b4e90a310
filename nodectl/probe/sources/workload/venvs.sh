# source: venvs
# about: the packages for GPU work in the Python environments that the inventory names
# by_hand: /opt/ENVIRONMENT/bin/pip list
# timeout: 20
# lane: slow
# root: no
# args: venv
# Names of folders say what is installed: no python is run, nothing is imported. An environment may lie on a network
# mount that hangs: hence a lane of its own.
ve_names='torch|pytorch_triton|triton|transformer[_-]engine([_-](torch|cu1[0-9]))?|flash[_-]attn([_-][34])?|bitsandbytes|vllm|deepspeed|xformers|nvidia[_-](nccl|cublas|cudnn)([_-]cu[0-9]+)?'
ve_site() {
    ve_real=$(readlink -f "$1")
    ve_list=$(ls -1 "$ve_real") || return
    printf 'site\t%s\n' "$ve_real"
    printf '%s\n' "$ve_list" | grep -aiE "^($ve_names)-[^/]*\.(dist-info|egg-info)\$" | while read -r ve_dist; do
        printf 'dist\t%s\n' "$ve_dist"
    done
    if [ -f "$ve_real/torch/version.py" ]; then
        grep -aE '^(cuda|hip)[: =]' "$ve_real/torch/version.py" | while read -r ve_line; do
            printf 'torch\t%s\n' "$ve_line"
        done
    fi
    return 0
}
ve_look() {
    ls -d "$1" >/dev/null || return
    case ${1%/} in
    */site-packages | */dist-packages)
        ve_site "$1"
        return
        ;;
    esac
    for ve_dir in "$1"/lib/python3*/site-packages "$1"/lib64/python3*/site-packages "$1"/lib/python3*/dist-packages \
        "$1"/local/lib/python3*/dist-packages; do
        if [ -d "$ve_dir" ]; then ve_site "$ve_dir" || return; fi
    done
    return 0
}
[ $# -gt 0 ] || nd_text 'no environments' 'none was asked for'
for ve_path; do
    nd_cmd_as "venv $ve_path" ve_look "$ve_path"
done
