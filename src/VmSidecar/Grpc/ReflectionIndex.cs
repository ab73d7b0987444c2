using Google.Protobuf.Reflection;

namespace VmSidecar.Grpc;

/// <summary>Finds the file of a symbol, as the full names of descriptor.proto are made: services and their methods, messages with their fields and oneofs at any depth, enums with their values. Immutable.</summary>
internal sealed class ReflectionIndex
{
    private readonly Dictionary<string, FileDescriptorProto> _byName = new(StringComparer.Ordinal), _bySymbol = new(StringComparer.Ordinal);
    private readonly List<string> _services = [];

    public ReflectionIndex(IEnumerable<FileDescriptorProto> files)
    {
        foreach (FileDescriptorProto file in files) { Add(file); }
    }

    /// <summary>Full names, in the order of the files.</summary>
    public IReadOnlyList<string> Services => _services;

    /// <summary>The file of this name; null: there is none.</summary>
    public FileDescriptorProto? ByName(string name) => _byName.GetValueOrDefault(name);

    /// <summary>The file that defines this full name; null: none does.</summary>
    public FileDescriptorProto? OfSymbol(string symbol) => _bySymbol.GetValueOrDefault(symbol);

    /// <summary>What a file imports, and what that imports.</summary>
    public static IEnumerable<FileDescriptorProto> DependenciesOf(FileDescriptor file) => file.Dependencies.SelectMany(d => DependenciesOf(d).Prepend(d.ToProto()));

    private void Add(FileDescriptorProto file)
    {
        if (!_byName.TryAdd(file.Name, file)) { return; } // imported twice
        foreach (ServiceDescriptorProto service in file.Service)
        {
            string name = Note(file, file.Package, service.Name);
            _services.Add(name);
            foreach (MethodDescriptorProto method in service.Method) { Note(file, name, method.Name); }
        }
        foreach (DescriptorProto message in file.MessageType) { Add(file, file.Package, message); }
        foreach (EnumDescriptorProto values in file.EnumType) { Add(file, file.Package, values); }
        foreach (FieldDescriptorProto extension in file.Extension) { Note(file, file.Package, extension.Name); }
    }

    private void Add(FileDescriptorProto file, string scope, DescriptorProto message)
    {
        string name = Note(file, scope, message.Name);
        foreach (string member in message.Field.Concat(message.Extension).Select(f => f.Name).Concat(message.OneofDecl.Select(o => o.Name))) { Note(file, name, member); }
        foreach (DescriptorProto nested in message.NestedType) { Add(file, name, nested); }
        foreach (EnumDescriptorProto values in message.EnumType) { Add(file, name, values); }
    }

    private void Add(FileDescriptorProto file, string scope, EnumDescriptorProto values)
    {
        Note(file, scope, values.Name);
        foreach (EnumValueDescriptorProto value in values.Value) { Note(file, scope, value.Name); } // beside its enum, as in C++
    }

    private string Note(FileDescriptorProto file, string scope, string name)
    {
        string full = scope.Length == 0 ? name : $"{scope}.{name}";
        _bySymbol.TryAdd(full, file);
        return full;
    }
}
