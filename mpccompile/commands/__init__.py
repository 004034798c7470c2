"""What the commands of ``mpccompile.cli`` do, once their arguments are parsed."""
