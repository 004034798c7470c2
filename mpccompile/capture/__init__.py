"""Turn a user's model into a :class:`mpccompile.ir.program.Program`."""
