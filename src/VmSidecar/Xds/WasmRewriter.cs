using VmSidecar.Wire.Protobuf;

namespace VmSidecar.Xds;

/// <summary>Rewrites Wasm filters: remote code becomes a local file, or a filter that cannot work becomes one that lets all pass or nothing. Every other byte stays. Pure.</summary>
internal static class WasmRewriter
{
    private const string Reserved = "ISTIO_META_"; // the agent's own settings inside a module's environment
    private const string HttpRbac = "envoy.extensions.filters.http.rbac.v3.RBAC", NetworkRbac = "envoy.extensions.filters.network.rbac.v3.RBAC";

    /// <summary>The configuration (an Any) with its code in a local file.</summary>
    public static byte[] ToLocal(ReadOnlySpan<byte> any, string file)
    {
        FieldRewriter.Visit typed = wasm => FieldRewriter.Walk(wasm, n => n == 1 ? plugin => FieldRewriter.Walk(plugin, p => p == 3 ? vm => Vm(vm, file) : null) : null);
        FieldRewriter.Visit wrapped = outer => FieldRewriter.Walk(outer, n => n == 2 ? fields => StructValue.Edit(
            fields, "config", StructValue.In(plugin => StructValue.Edit(plugin, "vm_config", StructValue.In(vm => VmFields(vm, file))))) : null);
        bool isWrapped = FilterHead.IsTypedStruct(FilterHead.WithoutPrefix(ProtoField.Text(any, 1)));
        return FieldRewriter.Walk(any, n => n == 2 ? isWrapped ? wrapped : typed : null).Of(any) ?? any.ToArray();
    }

    /// <summary>The configuration (an Any) of an RBAC filter in the place of one that cannot work: allows all, or denies all.</summary>
    public static byte[] Replacement(bool network, bool allow)
    {
        ProtoWriter rbac = new();
        if (!allow) { rbac.Message(1, new ProtoWriter()); } // rules that allow what a policy matches, and no policy
        if (network) { rbac.String(3, allow ? "wasm-default-allow" : "wasm-default-deny"); } // stat_prefix; the HTTP filter has none
        return new ProtoWriter().String(1, FilterHead.TypePrefix + (network ? NetworkRbac : HttpRbac)).Message(2, rbac).ToArray();
    }

    // VmConfig: code 3 (AsyncDataSource.local 1, DataSource.filename 1), environment_variables 7 (key_values 2).
    private static Rewritten Vm(ReadOnlySpan<byte> vm, string file) => FieldRewriter.Walk(vm, n => n switch
    {
        3 => _ => Rewritten.Changed(new ProtoWriter().Message(1, new ProtoWriter().String(1, file)).ToArray()),
        7 => environment => FieldRewriter.Walk(environment, e => e == 2 ? IfReserved : null),
        _ => null,
    });

    private static Rewritten VmFields(ReadOnlySpan<byte> vm, string file)
    {
        ProtoWriter local = StructValue.Holding("local", StructValue.Holding("filename", new ProtoWriter().String(3, file)));
        byte[] located = StructValue.Edit(vm, "code", _ => Rewritten.Changed(local.ToArray())).Of(vm) ?? vm.ToArray();
        byte[]? stripped = StructValue.Edit(located, "environment_variables", StructValue.In(
            fields => StructValue.Edit(fields, "key_values", StructValue.In(pairs => FieldRewriter.Walk(pairs, n => n == 1 ? IfReserved : null))))).Of(located);
        return Rewritten.Changed(stripped ?? located);
    }

    private static Rewritten IfReserved(ReadOnlySpan<byte> entry) =>
        ProtoField.Text(entry, 1).StartsWith(Reserved, StringComparison.Ordinal) ? Rewritten.Removed : Rewritten.Same;
}
