# Completion of convcli in fish.
function __convcli_complete
    set -l words (commandline -opc)
    set -l found (env _CONVCLI_COMPLETE=fish $words[1] $words[2..-1] (commandline -ct) 2> /dev/null)
    if test -n "$found"
        printf '%s\n' $found
    else
        __fish_complete_path (commandline -ct)
    end
end
complete --command convcli --no-files --arguments '(__convcli_complete)'
