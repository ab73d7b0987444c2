namespace VmSidecar.Sds;

/// <summary>Where one resource comes from. Shared by all streams that subscribe to it; the last one to dispose its lease closes it.</summary>
internal interface ISecretFeed
{
    /// <summary>The value as of now (null: none yet) and a task that ends when it may have changed.</summary>
    (SecretValue? Value, Task Changed) Watch();

    /// <summary>Why there is no value, for the client and the log.</summary>
    string Problem { get; }
}
