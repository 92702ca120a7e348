# Completion of convcli in zsh.
if ! (( $+functions[compdef] )); then
  autoload -Uz compinit && compinit
fi
_convcli() {
  local line value about
  local -a open open_shown closed closed_shown
  for line in "${(@f)$(_CONVCLI_COMPLETE=zsh ${words[1]} "${(@Q)words[2,CURRENT]}" 2> /dev/null)}"; do
    value=${line%%$'\t'*} about=${line#*$'\t'}
    [[ -z $value ]] && continue
    # More follows what ends in one of these.
    if [[ $value == *[:=,] ]]; then
      open+=("$value") open_shown+=("${value}${about:+  -- $about}")
    else
      closed+=("$value") closed_shown+=("${value}${about:+  -- $about}")
    fi
  done
  if (( ! $#open && ! $#closed )); then
    _files
    return
  fi
  (( $#closed )) && compadd -l -d closed_shown -a closed
  (( $#open )) && compadd -l -S '' -d open_shown -a open
  return 0
}
compdef _convcli convcli
