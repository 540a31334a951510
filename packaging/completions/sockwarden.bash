# bash completion for sockwarden. Written by packaging/man/generate.py: change its sources, not this file.

_sockwarden() {
	local current=${COMP_WORDS[COMP_CWORD]} command='' files=yes word words
	for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
		case $word in run|check|explain|status|doctor|guard|digests|reload|demo) command=$word; break ;; esac
	done
	case $command in
	'') words='run check explain status doctor guard digests reload demo --version --color --help' ;;
	run) words='--config --guard --guard-required --help' ;;
	check) words='--json --help' ;;
	explain) words='--policy --as --enforce-host --body --json --help' ;;
	status) words='--config --json --help' ;;
	doctor) words='--config --try --json --help' ;;
	guard) words='status unload --config --force --json --help' files=no ;;
	digests) words='lock verify show refresh --policy --output --parallel --config --lock --json --help' ;;
	reload) words='--config --help' ;;
	demo) words='--keep --help' ;;
	esac
	if [[ -n $command && $files == yes && $current != -* ]]; then
		mapfile -t COMPREPLY < <(compgen -f -- "$current")
	else
		mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
	fi
}
complete -o filenames -F _sockwarden sockwarden
