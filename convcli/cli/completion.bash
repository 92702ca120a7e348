# Completion of convcli in bash.
_convcli() {
  local IFS=$'\n'
  COMPREPLY=($(_CONVCLI_COMPLETE=bash COMP_WORDBREAKS="$COMP_WORDBREAKS" "$1" "${COMP_LINE:0:COMP_POINT}" 2> /dev/null))
  # More follows what ends in one of these.
  [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[:=,] ]] && compopt -o nospace
  return 0
}
complete -o bashdefault -o default -F _convcli convcli
