namespace VmSidecar.Configuration;

/// <summary>One variable an environment file sets; later ones win. Made by <see cref="BashEnvFile"/>.</summary>
/// <param name="Key">Variable name.</param>
/// <param name="Value">Value after quoting and expansion.</param>
/// <param name="Line">1-based line where the assignment begins.</param>
/// <param name="IsUnset">True for <c>unset NAME</c>: the variable is removed, also an inherited one.</param>
internal readonly record struct EnvAssignment(string Key, string Value, int Line, bool IsUnset = false);
