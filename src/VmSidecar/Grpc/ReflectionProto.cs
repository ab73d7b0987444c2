using Google.Protobuf.Reflection;

using Field = Google.Protobuf.Reflection.FieldDescriptorProto;
using Kind = Google.Protobuf.Reflection.FieldDescriptorProto.Types.Type;

namespace VmSidecar.Grpc;

/// <summary>The descriptors of the reflection service itself, so that what it lists it also describes. Built, not generated: the two versions differ in their package alone.</summary>
internal static class ReflectionProto
{
    /// <summary>Short name of the service.</summary>
    public const string Service = "ServerReflection";

    /// <summary>Its one method.</summary>
    public const string Method = "ServerReflectionInfo";

    /// <summary>The versions that tools ask for.</summary>
    public static IReadOnlyList<string> Versions { get; } = ["v1", "v1alpha"];

    /// <summary>The package of a version.</summary>
    public static string Package(string version) => "grpc.reflection." + version;

    /// <summary>The file of a version; extensions, which nothing here has, are left out.</summary>
    public static FileDescriptorProto File(string version)
    {
        string scope = $".{Package(version)}.";
        return new FileDescriptorProto
        {
            Name = $"grpc/reflection/{version}/reflection.proto",
            Package = Package(version),
            Syntax = "proto3",
            Service = { new ServiceDescriptorProto { Name = Service, Method = { new MethodDescriptorProto { Name = Method, InputType = scope + "ServerReflectionRequest", OutputType = scope + "ServerReflectionResponse", ClientStreaming = true, ServerStreaming = true } } } },
            MessageType =
            {
                Message("ServerReflectionRequest", "message_request", Text("host", 1), Choice(Text("file_by_filename", 3)), Choice(Text("file_containing_symbol", 4)), Choice(Text("list_services", 7))),
                Message("ServerReflectionResponse", "message_response", Text("valid_host", 1), Of("original_request", 2, scope + "ServerReflectionRequest"),
                    Choice(Of("file_descriptor_response", 4, scope + "FileDescriptorResponse")), Choice(Of("list_services_response", 6, scope + "ListServiceResponse")), Choice(Of("error_response", 7, scope + "ErrorResponse"))),
                Message("FileDescriptorResponse", "", Many(Scalar("file_descriptor_proto", 1, Kind.Bytes))),
                Message("ListServiceResponse", "", Many(Of("service", 1, scope + "ServiceResponse"))),
                Message("ServiceResponse", "", Text("name", 1)),
                Message("ErrorResponse", "", Scalar("error_code", 1, Kind.Int32), Text("error_message", 2)),
            },
        };
    }

    private static DescriptorProto Message(string name, string oneof, params Field[] fields)
    {
        var message = new DescriptorProto { Name = name, Field = { fields } };
        if (oneof.Length > 0) { message.OneofDecl.Add(new OneofDescriptorProto { Name = oneof }); }
        return message;
    }

    private static Field Scalar(string name, int number, Kind kind) => new() { Name = name, Number = number, Type = kind, Label = Field.Types.Label.Optional };

    private static Field Text(string name, int number) => Scalar(name, number, Kind.String);

    private static Field Of(string name, int number, string type)
    {
        Field field = Scalar(name, number, Kind.Message);
        field.TypeName = type;
        return field;
    }

    private static Field Many(Field field)
    {
        field.Label = Field.Types.Label.Repeated;
        return field;
    }

    private static Field Choice(Field field)
    {
        field.OneofIndex = 0;
        return field;
    }
}
